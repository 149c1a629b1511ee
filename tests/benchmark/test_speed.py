import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from tests.conftest import FRAMES, HEIGHT, WIDTH, ColourNetwork, Footage, needs_int8
from vostool.benchmark.flops import frame_flops, frames_remembered
from vostool.benchmark.hardware_peak import measure_ceiling
from vostool.benchmark.speed import BenchJob, bands, bench, clip_of
from vostool.benchmark.timing import STAGES, StageClock, timed
from vostool.cli import main
from vostool.errors import UsageError
from vostool.inference.loading import load_predictor
from vostool.inference.options import ModelOptions
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.tracker import Tracker
from vostool.inference.video import Stopwatch, predict
from vostool.media.masks import read_mask
from vostool.media.video import probe, read_frames
from vostool.model.checkpoint import save_checkpoint
from vostool.model.interface import memory_limit
from vostool.model.stm import Stm
from vostool.model.stm_settings import StmSettings
from vostool.propagation.correction import GradientCorrection
from vostool.propagation.references import REFERENCE_SETS

CPU = torch.device("cpu")
CORRECTION = GradientCorrection(every=2, steps=2, rate=3e4)
KEYS = {
    "schema_version", "versions", "device", "threads", "network", "options", "clip", "fps",
    "limits", "stages", "memory", "warnings", "frame", "gflop_per_second", "ceiling",
    "share_of_convolution_ceiling",
}  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have little to measure on, and the temporary folders where they can be looked for."""
    monkeypatch.setattr("vostool.benchmark.hardware_peak.SECONDS", 0.0)
    monkeypatch.setattr("vostool.benchmark.hardware_peak.MATRIX", {"cpu": 16})
    # so many that the rounded GFLOP/s are above 0 even if the only run waits for half a second
    monkeypatch.setattr("vostool.benchmark.hardware_peak.CHANNELS", 16)
    monkeypatch.setattr("vostool.segment.demo.FRAMES", 3)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))


@pytest.fixture
def predictor(weights: Path) -> Predictor:
    return Predictor(
        cast(Stm, ColourNetwork()), weights, CPU, torch.float32, HEIGHT, correction=CORRECTION
    )


@pytest.fixture
def real(network: Stm, weights: Path) -> Predictor:
    network.requires_grad_(False)
    return Predictor(network, weights, CPU, torch.float32, size=32, correction=CORRECTION)


def job_of(video: Footage, **more: int) -> BenchJob:
    return BenchJob(video.path, (str(video.mask),), repeat=1, **more)


class TestTimedModel:
    @pytest.mark.parametrize("which", ["predictor", "real"])
    def test_makes_the_very_same_masks(
        self, which: str, video: Footage, request: pytest.FixtureRequest
    ) -> None:
        model: Predictor = request.getfixturevalue(which)
        given = GivenMasks({0: video.mask}, probe(video.path))
        clock = StageClock(CPU)
        plain, clocked = (
            [seen.masks for _, seen in predict(read_frames(video.path), given, each, Stopwatch())]
            for each in (Tracker(predictor=model), Tracker(predictor=timed(model, clock)))
        )
        assert len(plain) == FRAMES
        assert all(torch.equal(*pair) for pair in zip(plain, clocked, strict=True))
        assert all(clock.seconds[stage] > 0 for stage in STAGES)

    def test_has_the_limited_memory_bank_of_the_model(self, real: Predictor) -> None:
        whole = timed(real, StageClock(CPU))
        lowered = whole.within(replace(whole.limits, memory_frames=2))
        limits = [memory_limit(each.network) for each in (whole, lowered, real)]
        assert limits == [None, 2, None]

    def test_counts_what_the_correction_asks_of_the_network_as_correction(self) -> None:
        clock = StageClock(CPU)
        with clock.stage("correct"), clock.stage("segment"):
            pass
        assert clock.seconds["correct"] > 0
        assert clock.seconds["segment"] == 0

    def test_goes_on_after_an_error(self) -> None:
        clock = StageClock(CPU)
        with pytest.raises(ValueError, match="wrong"), clock.stage("encode"):
            raise ValueError("wrong")
        with clock.stage("segment"):
            pass
        assert clock.seconds["segment"] > 0


class TestReport:
    def test_has_stages_that_sum_up_to_the_whole(
        self, video: Footage, predictor: Predictor
    ) -> None:
        stages = bench(job_of(video), predictor).stages
        assert set(stages) == {*STAGES, "other", "network", "media", "total"}
        assert all(milliseconds >= 0 for milliseconds in stages.values())
        inside = sum(stages[name] for name in (*STAGES, "other"))
        slack = 2 / FRAMES  # all seconds are rounded to milliseconds
        assert inside == pytest.approx(stages["network"], abs=slack)
        assert stages["network"] + stages["media"] == pytest.approx(stages["total"], abs=slack)

    def test_tells_of_no_correction_where_there_is_none(
        self, real: Predictor, video: Footage
    ) -> None:
        report = bench(job_of(video, frames=3), replace(real, correction=None))
        assert report.stages["correct"] == 0
        assert report.options["correction"] is None
        assert report.clip.model_dump() == {
            "video": str(video.path),
            "width": WIDTH,
            "height": HEIGHT,
            "frames": 3,
            "objects": 1,
        }

    def test_counts_the_frames_of_all_passes(self, video: Footage, predictor: Predictor) -> None:
        told: list[tuple[int, int | None]] = []
        bench(
            job_of(video, frames=4),
            predictor,
            lambda done, total, words: told.append((done, total)),
        )
        assert told == [(done, 12) for done in range(1, 13)]

    def test_writes_nothing_that_stays(
        self, video: Footage, predictor: Predictor, tmp_path: Path
    ) -> None:
        before = set(tmp_path.rglob("*"))
        bench(job_of(video), predictor)
        assert set(tmp_path.rglob("*")) == before


class TestObjects:
    @pytest.mark.parametrize("count", [1, 2, 5, 254])
    def test_of_the_demo_are_as_many_as_asked_for(self, count: int, tmp_path: Path) -> None:
        _, (mask,) = clip_of(BenchJob(objects=count), tmp_path)
        assert np.unique(read_mask(Path(mask))).tolist() == list(range(count + 1))

    def test_are_bands_of_the_same_area(self) -> None:
        labels = np.zeros((8, 6), np.uint8)
        labels[1:7, 2:4] = 5
        cut = bands(labels, 3)
        assert cut[:, 2].tolist() == [0, 1, 1, 2, 2, 3, 3, 0]
        assert ((cut > 0) == (labels > 0)).all()

    def test_are_followed_by_the_network(self, predictor: Predictor) -> None:
        report = bench(BenchJob(objects=3, repeat=1), predictor)
        assert report.clip.objects == 3
        assert report.clip.video is None


class TestFlops:
    def test_grow_with_the_objects_and_with_what_is_remembered(self, real: Predictor) -> None:
        one, objects, frames = (
            frame_flops(real, (32, 48), objects, remembered)
            for objects, remembered in ((1, 1), (2, 1), (1, 3))
        )
        assert 0 < one < frames < objects < 2 * one

    @needs_int8
    def test_are_the_same_in_8_bits(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.safetensors"
        save_checkpoint(path, Stm(StmSettings(values="shared")), {})
        exact, rounded = (
            load_predictor(ModelOptions(weights=str(path), device="cpu", precision=precision))
            for precision in ("fp32", "int8")
        )
        assert frame_flops(exact, (32, 48), 2, 2) == frame_flops(rounded, (32, 48), 2, 2)

    def test_are_those_of_the_frames_that_the_clip_comes_to_remember(self) -> None:
        memory = REFERENCE_SETS["memory"]
        assert [frames_remembered(memory, frames, 8) for frames in (2, 3, 7, 50)] == [1, 2, 2, 8]
        assert frames_remembered(memory, 50, None) == 11
        for name, count in (("first", 1), ("previous", 1), ("first+previous", 2)):
            assert frames_remembered(REFERENCE_SETS[name], 50, 8) == count


@pytest.mark.parametrize(
    "precision", [torch.float32, torch.bfloat16, pytest.param(torch.int8, marks=needs_int8)]
)
def test_a_ceiling_is_measured_in_every_precision(precision: torch.dtype) -> None:
    ceiling = measure_ceiling(CPU, precision)
    if precision is torch.int8:
        assert ceiling.matrix_product is None
    else:
        assert ceiling.matrix_product is not None
        assert ceiling.matrix_product > 0
    assert ceiling.convolution > 0


class TestCommand:
    @pytest.fixture
    def run(
        self, real: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> Callable[..., tuple[int, str, str]]:  # fmt: skip
        assert isinstance(real.network, Stm)
        save_checkpoint(tmp_path / "w.safetensors", real.network, {})
        always = ("--weights", tmp_path / "w.safetensors", "--device", "cpu", "--size", 32)

        def call(*arguments: object) -> tuple[int, str, str]:
            given = ("vostool", "bench", *arguments, *always, "--precision", "fp32")
            monkeypatch.setattr(sys, "argv", [str(each) for each in given])
            code = 0
            try:
                main()
            except SystemExit as stop:
                code = int(stop.code or 0)
            return (code, *capsys.readouterr())

        return call

    def test_prints_two_speeds_and_a_table(self, run: Callable[..., tuple[int, str, str]]) -> None:
        code, out, err = run("--repeat", 1)
        assert code == 0
        names, figures = zip(*(line.split() for line in out.splitlines()), strict=True)
        assert names == ("network", "end-to-end")
        assert all(float(figure) > 0 for figure in figures)
        assert "share of the convolution peak" in err

    def test_prints_one_document_on_request(
        self, run: Callable[..., tuple[int, str, str]], video: Footage
    ) -> None:
        given = (video.path, "--mask", video.mask, "--gc-every", 3, "--gc-iters", 1)
        code, out, err = run(*given, "--repeat", 2, "--json", "--quiet")
        assert (code, err) == (0, "")
        report: dict[str, Any] = json.loads(out)
        assert set(report) == KEYS
        assert set(report["fps"]) == {"network", "end_to_end", "ratio", "runs"}
        assert {len(rates) for rates in report["fps"]["runs"].values()} == {2}
        assert report["options"]["correction"]["every"] == 3
        assert report["ceiling"][report["options"]["precision"]]["convolution"] > 0
        assert report["memory"]["ram"] > 0
        assert report["memory"]["device"] is None
        assert report["frame"]["gflop"] > 0

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("{video}",), "expected --mask"),
            (("--mask", "{mask}"), "expected the VIDEO"),
            (("{video}", "--mask", "{mask}", "--objects", 2), "--objects: is for the demo clip"),
            (("--objects", 0), "expected 1 to 254"),
            (("--objects", 255), "expected 1 to 254"),
            (("--gc-iters", 3), "--gc-every"),
            (("{video}", "--mask", "50:{mask}"), "outside of the range 0 to 49"),
        ],
    )
    def test_refuses_what_makes_no_sense_together(
        self,
        arguments: tuple[object, ...],
        words: str,
        run: Callable[..., tuple[int, str, str]],
        video: Footage,
    ) -> None:
        paths = {"video": video.path, "mask": video.mask}
        code, out, err = run(*(str(each).format(**paths) for each in arguments))
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert words in err

    def test_a_missing_video_is_reported_rather_than_the_missing_mask(
        self, run: Callable[..., tuple[int, str, str]]
    ) -> None:
        code, out, err = run("nofile.mp4")
        assert (code, out) == (3, "")
        assert err == "vostool: nofile.mp4: no such file or folder\n"

    def test_tells_of_a_wrong_input(
        self, run: Callable[..., tuple[int, str, str]], video: Footage, tmp_path: Path
    ) -> None:
        assert run(tmp_path / "none.mp4", "--mask", video.mask)[0] == 3
        assert run(video.path, "--mask", tmp_path / "none.png")[0] == 4


def test_a_job_needs_frames_and_repetitions() -> None:
    with pytest.raises(UsageError, match="--frames 1 --repeat 3: expected 2 or more, 1 or more"):
        BenchJob(frames=1)
    with pytest.raises(UsageError, match="--repeat 0"):
        BenchJob(repeat=0)
