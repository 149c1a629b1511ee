import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vostool.errors import UsageError
from vostool.evaluate.results import ClipScores, ObjectScores, Results, Speed
from vostool.evaluate.sweep import Point, grid, write_sweep
from vostool.inference.options import ModelOptions


def results(j: float, fps: float) -> Results:
    speed = Speed(
        frames=10,
        network_seconds=10 / fps,
        total_seconds=20 / fps,
        device="cpu",
        precision="float32",
    )
    scores = {1: ObjectScores(j=[j], f=[j])}
    clips = [ClipScores(name="a", frames=["00001"], objects=scores)]
    return Results(
        benchmark="davis16",
        split="val",
        root=Path("set"),
        predictions=Path("masks"),
        clips=clips,
        speed=speed,
    )


class TestTheGrid:
    def test_has_a_point_for_each_value(self) -> None:
        assert [point.name for point in grid(["size=240,480"])] == ["size=240", "size=480"]

    def test_has_a_point_for_each_combination(self) -> None:
        points = grid(["size=240,480", "--memory-every=1,5"])
        assert [point.name for point in points] == [
            "size=240,memory-every=1",
            "size=240,memory-every=5",
            "size=480,memory-every=1",
            "size=480,memory-every=5",
        ]

    @pytest.mark.parametrize(
        ("spec", "words"),
        [
            ("colour=red", "--sweep colour=red: --colour: no such option of a model"),
            ("memory=foo", "--sweep memory=foo: --memory foo: expected 'stm', 'kmn' or 'gcm'"),
            ("memory-frames=1", "--sweep memory-frames=1: --memory-frames 1: expected greater"),
        ],
    )
    def test_a_wrong_option_of_a_sweep_is_named_as_it_is_typed(self, spec: str, words: str) -> None:
        (point,) = grid([spec])
        with pytest.raises(UsageError) as refusal:
            point.options(ModelOptions())
        assert words in str(refusal.value)

    @pytest.mark.parametrize("spec", ["size", "size=", "size=,"])
    def test_needs_values(self, spec: str) -> None:
        with pytest.raises(UsageError, match="expected option=value"):
            grid([spec])


class TestAFolder:
    def test_is_named_as_its_point(self) -> None:
        (point,) = grid(["reference=first+previous"])
        assert point.folder == point.name == "reference=first+previous"

    @pytest.mark.parametrize("value", ["../../w", "/tmp/w", "a/b.safetensors", "..", "a\\b", "c:d"])
    def test_stays_within_that_of_the_sweep(self, value: str) -> None:
        (point,) = grid([f"weights={value}"])
        assert not {"/", "\\", ":"} & set(point.folder)
        assert point.folder.startswith("weights=")

    def test_of_every_point_is_another(self) -> None:
        long = "x" * 300
        values = ["a/b", "a%2Fb", "a:b", f"{long}1", f"{long}2"]
        folders = [point.folder for point in grid([f"weights={','.join(values)}"])]
        assert len(set(folders)) == len(values)
        assert max(len(folder.encode()) for folder in folders) < 255


class TestAPoint:
    def test_changes_the_options_it_names(self) -> None:
        options = Point((("memory-every", "7"),)).options(ModelOptions(size=320))
        assert options == ModelOptions(size=320, memory_every=7)

    @pytest.mark.parametrize("spec", ["colour=red", "size=large", "size=1", "reference=all"])
    def test_refuses_what_no_option_takes(self, spec: str) -> None:
        (point,) = grid([spec])
        with pytest.raises(UsageError, match=spec):
            point.options(ModelOptions())


def test_the_curve_is_a_table_and_a_picture(tmp_path: Path) -> None:
    points = grid(["size=240,480", "memory-every=1,5"])
    runs = {point: results(0.5 + 0.1 * i, 10 - i) for i, point in enumerate(points)}
    table, picture = write_sweep(tmp_path, runs)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert rows[2] == {
        "size": "480",
        "memory-every": "1",
        "J&F-Mean": "0.7000",
        "J-Mean": "0.7000",
        "F-Mean": "0.7000",
        "network-fps": "8.00",
        "end-to-end-fps": "4.00",
    }
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20  # something is drawn
