"""The commands of the papers' tables whose data sets cannot be had: on toys of their layouts.

DAVIS-2017 and YouTube-VOS; those on DAVIS-2016 are run on the real one (weights/README.md).
"""

import json
import zipfile
from pathlib import Path

import pytest

from tests.conftest import TINY
from tests.evaluate.making import write_davis17, write_youtube
from tests.evaluate.test_cli import Eval, predict
from tests.test_cli import Call, vostool
from vostool.evaluate.results import Results, by_group, read_results
from vostool.model.checkpoint import save_checkpoint
from vostool.model.stm import Stm

__all__ = ["predict", "vostool"]
pytestmark = pytest.mark.usefixtures("scored_here")
BLACK_BOX = (
    *("--disturb", "mi-fgsm", "--attack-steps", 2),
    *("--attacker", "other.safetensors"),
)
CORRECTION = ("--gc-every", 2, "--gc-iters", 2)  # of six frames, some are to be corrected


@pytest.fixture
def davis17(tmp_path: Path) -> Path:
    return write_davis17(tmp_path / "DAVIS-2017", "a", "b")


def finished(folder: str) -> Results:
    """Return the results of a run whose masks, tables and report are all there."""
    for name in ("report.html", "masks/a/00005.png"):
        assert (Path(folder) / name).exists(), name
    return read_results(Path(folder))


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ((), {}),  # Tables 1 and 4: the baseline, or with the cycle, by the weights
        (CORRECTION, {"correction": {"every": 2, "steps": 2}}),  # and "+ GC"
        (("--disturb", "box", "--memory-every", 2, "--disturb-every", 2), {"disturbance": "box"}),
        (
            ("--disturb", "fgsm", "--memory-every", 2, "--disturb-every", 2, *CORRECTION),
            {"disturbance": "fgsm", "correction": {"every": 2}},
        ),
        (
            (*BLACK_BOX, "--memory-every", 2, "--disturb-every", 2),
            {"disturbance": "mi-fgsm"},
        ),
    ],
    ids=["tables 1 and 4", "tables 1 and 4, GC", "table 5", "table 6, white box", "black box"],
)
def test_tables_of_davis_2017_validation_are_made_by_eval_davis17(
    options: tuple[object, ...], kept: dict[str, object], predict: Eval, davis17: Path
) -> None:
    Path("other.safetensors").write_bytes(b"colours need no weights either")
    outcome = predict("davis17", davis17, *options, "-o", "out")
    assert outcome.code == 0, outcome.err
    results = finished("out")
    assert {clip.name for clip in results.clips} == {"a", "b"}
    assert results.speed is not None, "the tables' last column"
    for name, expected in kept.items():
        found = results.options[name]
        if isinstance(expected, dict):
            assert found.items() >= expected.items()
        else:
            assert found["kind"] == expected


def test_the_low_quality_line_of_table_5_takes_the_masks_of_another_run(
    predict: Eval, davis17: Path
) -> None:
    assert predict("davis17", davis17, "-o", "baseline", "--reference", "first").code == 0
    disturb = ("--disturb", "masks:baseline/masks", "--memory-every", 2, "--disturb-every", 2)
    outcome = predict("davis17", davis17, "-o", "out", *disturb)
    assert outcome.code == 0, outcome.err
    assert finished("out").options["disturbance"]["masks"].endswith("baseline/masks")


def test_table_1_of_davis_2017_test_dev_is_a_zip_for_its_server(
    predict: Eval, davis17: Path
) -> None:
    """The first mask of each clip alone is published."""
    for mask in davis17.glob("Annotations/480p/*/*.png"):
        if mask.stem != "00000":
            mask.unlink()
    (davis17 / "ImageSets/2017/val.txt").rename(davis17 / "ImageSets/2017/test-dev.txt")
    split = ("--split", "test-dev", "--pack", "up.zip")
    outcome = predict("davis17", davis17, "-o", "out", *split, *CORRECTION)
    assert outcome.code == 0, outcome.err
    with zipfile.ZipFile("up.zip") as packed:
        names = packed.namelist()
    assert {name.split("/")[0] for name in names} == {"a", "b"}


def test_table_3_of_davis_2017_is_a_sweep_over_the_reference_sets(
    predict: Eval, davis17: Path
) -> None:
    sets = "reference=first,previous,first+previous,memory"
    outcome = predict("davis17", davis17, "-o", "out", "--sweep", sets)
    assert outcome.code == 0, outcome.err
    lines = Path("out/sweep.csv").read_text().splitlines()
    assert len(lines) == 1 + 4


def test_table_7_is_a_run_for_each_memory_design(vostool: Call, davis17: Path) -> None:
    save_checkpoint(Path("stm.safetensors"), Stm(TINY), {})
    save_checkpoint(Path("gcm.safetensors"), Stm(TINY.model_copy(update={"memory": "gcm"})), {})
    (davis17 / "ImageSets/2017/val.txt").write_text("a\n")
    for memory, weights in (("kmn", "stm"), ("gcm", "gcm")):
        outcome = vostool(
            *("eval", "davis17", davis17, "--weights", f"{weights}.safetensors", "--size", 32),
            *("--memory", memory, "--device", "cpu", "-o", memory),
        )
        assert outcome.code == 0, outcome.err
        assert finished(memory).options["settings"]["memory"] == memory


def test_table_2_is_a_zip_for_the_server_of_youtube_vos(predict: Eval, tmp_path: Path) -> None:
    write_youtube(tmp_path / "valid", whole_truth=False)
    outcome = predict("youtube-vos", tmp_path, "-o", "out", "--pack", "up.zip", *CORRECTION)
    assert outcome.code == 0, outcome.err
    with zipfile.ZipFile("up.zip") as packed:
        assert "Annotations/a/00040.png" in packed.namelist()


def test_table_2_tells_seen_from_unseen_categories_where_the_truth_is_at_hand(
    predict: Eval, tmp_path: Path
) -> None:
    write_youtube(tmp_path / "train", whole_truth=True)
    seen = {"videos": {"x": {"objects": {"1": {"category": "sky", "frames": ["00000"]}}}}}
    (tmp_path / "meta.json").write_text(json.dumps(seen))
    outcome = predict(
        *("youtube-vos", tmp_path, "--split", "train", "--train-meta", tmp_path / "meta.json"),
        *("-o", "out"),
    )
    assert outcome.code == 0, outcome.err
    assert set(by_group(read_results(Path("out")))) == {"seen", "unseen"}
