import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import FRAMES, HEIGHT, TINY, WIDTH, ColourNetwork, Footage, film
from tests.media.making import delay_last_picture
from vostool.analysis.erf import erf, name_models
from vostool.analysis.erf_plan import ErfJob
from vostool.errors import InputError, MaskError, OutputError, UsageError, VostoolError
from vostool.inference.predictor import Predictor
from vostool.media.masks import write_mask
from vostool.media.time_codes import TimeCode
from vostool.media.video import read_frames
from vostool.model.stm import Stm


def model_of(network: ColourNetwork | Stm, weights: Path) -> Predictor:
    return Predictor(cast(Stm, network), weights, torch.device("cpu"), torch.float32, size=HEIGHT)


@pytest.fixture
def predictor(weights: Path) -> Predictor:
    return model_of(ColourNetwork(), weights)


@pytest.fixture
def job(video: Footage, tmp_path: Path) -> ErfJob:
    return ErfJob(video.path, str(video.mask), tmp_path / "out", steps=6, strip=3)


class TestResponse:
    def test_lies_inside_the_object(self, job: ErfJob, predictor: Predictor) -> None:
        report = erf(replace(job, frame=4), [predictor])
        (main,) = [each for each in report.responses if each.frame == 4]
        assert main.share is not None
        assert main.share > 4 * main.area
        assert main.area == pytest.approx(256 / (HEIGHT * WIDTH), rel=0.1)
        assert main.inside == "prediction"

    def test_may_be_asked_for_by_time(self, job: ErfJob, predictor: Predictor) -> None:
        report = erf(replace(job, frame=TimeCode("0:00.16")), [predictor])
        assert 4 in [each.frame for each in report.responses]
        assert report.options["frame"] == 4

    def test_is_measured_against_the_truth_where_it_is_given(
        self, job: ErfJob, predictor: Predictor, video: Footage, tmp_path: Path
    ) -> None:
        write_mask(tmp_path / "elsewhere.png", video.labels[4][::-1].copy())
        given = replace(job, frame=4, truth=(str(tmp_path / "elsewhere.png"),), strip=0)
        (main,) = erf(given, [predictor]).responses
        assert main.inside == "truth"
        assert main.share is not None
        assert main.share < 2 * main.area

    def test_is_of_one_object_on_request(
        self, predictor: Predictor, tmp_path: Path, job: ErfJob
    ) -> None:
        two = film(tmp_path / "two.mp4", tmp_path / "unused.png", two=True)
        write_mask(tmp_path / "both.png", two.labels[3])
        late = replace(
            job, video=two.path, mask=f"3:{tmp_path / 'both.png'}", frame=5, object_id=2, strip=0
        )
        (main,) = erf(late, [predictor]).responses
        assert main.share is not None
        assert main.share > 4 * main.area
        field = np.load(job.output / "erf.npy")[0, 0]
        blue, orange = field[6:20, 44:60], field[26:42, 24:40]
        assert blue.mean() > 1.5 * orange.mean()

    def test_of_a_real_network_is_finite(self, job: ErfJob, untrained: Stm, weights: Path) -> None:
        erf(replace(job, steps=2, strip=0), [model_of(untrained, weights)])
        assert np.isfinite(np.load(job.output / "erf.npy")).all()


def test_what_was_put_right_in_the_video_is_in_the_report(
    job: ErfJob, predictor: Predictor, video: Footage
) -> None:
    delay_last_picture(video.path)
    (warning,) = erf(replace(job, frame=FRAMES - 1), [predictor]).warnings
    assert warning.startswith(f"{video.path}: its clock breaks off at frame ")


class TestFiles:
    def test_are_pictures_a_film_an_array_and_a_report(
        self, job: ErfJob, predictor: Predictor
    ) -> None:
        report = erf(job, [predictor])
        names = {"erf.png", "strip.png", "steps.mp4", "erf.npy", "erf.json"}
        assert {path.name for path in job.output.iterdir()} == names
        assert json.loads((job.output / "erf.json").read_text()) == json.loads(
            json.dumps(report.model_dump(), default=str)
        )
        frames = [each.frame for each in report.responses]
        assert frames == [2, 4, 5, 7]  # the middle one among the three of the strip
        array = np.load(job.output / "erf.npy")
        assert array.shape == (1, 4, HEIGHT, WIDTH)
        assert array.min() >= 0
        shown = list(read_frames(job.output / "steps.mp4"))
        assert len(shown) == job.steps
        assert shown[0].rgb.shape == (HEIGHT, WIDTH, 3)
        for name in ("erf.png", "strip.png"):
            with Image.open(job.output / name) as picture:
                picture.load()

    def test_show_several_weights_side_by_side(self, job: ErfJob, weights: Path) -> None:
        models = [model_of(ColourNetwork(), weights) for _ in range(2)]
        report = erf(job, models)
        assert len(report.networks) == 2
        array = np.load(job.output / "erf.npy")
        assert array.shape[0] == 2
        np.testing.assert_array_equal(array[0], array[1])
        assert next(read_frames(job.output / "steps.mp4")).rgb.shape == (HEIGHT, 2 * WIDTH, 3)

    def test_tell_weights_of_one_name_by_their_folders(self, weights: Path) -> None:
        model = model_of(ColourNetwork(), Path("one/w.safetensors"))
        other = replace(model, weights=Path("two/w.safetensors"))
        third = replace(model, weights=Path("two/v.safetensors"))
        assert name_models([model, other]) == ["one/w", "two/w"]
        assert name_models([model, third]) == ["w", "v"]

    def test_tell_models_of_one_network_by_their_memory_designs(self, weights: Path) -> None:
        networks = [Stm(TINY.model_copy(update={"memory": memory})) for memory in ("stm", "kmn")]
        models = [model_of(network, weights) for network in networks]
        assert name_models(models) == ["colours, stm", "colours, kmn"]
        assert name_models(models[:1]) == ["colours"]

    def test_name_weights_as_they_are_even_with_dollar_signs(
        self, job: ErfJob, tmp_path: Path
    ) -> None:
        weights = tmp_path / r"a$\broken$.safetensors"
        weights.touch()
        report = erf(job, [model_of(ColourNetwork(), weights)])
        assert report.responses[0].weights == r"a$\broken$"

    def test_have_their_place_before_the_work_begins(
        self, job: ErfJob, predictor: Predictor, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("mine")
        told: list[int] = []
        with pytest.raises(OutputError, match="cannot be written"):
            erf(
                replace(job, output=tmp_path / "file" / "out"),
                [predictor],
                lambda done, *_: told.append(done),
            )
        assert not told

    def test_are_replaced_only_on_request(self, job: ErfJob, predictor: Predictor) -> None:
        erf(job, [predictor])
        with pytest.raises(OutputError, match="exists already"):
            erf(job, [predictor])
        erf(replace(job, strip=0, overwrite=True), [predictor])
        assert not (job.output / "strip.png").exists()

    def test_tell_of_progress(self, job: ErfJob, predictor: Predictor) -> None:
        told: list[tuple[int, int | None]] = []
        erf(job, [predictor], lambda done, total, words: told.append((done, total)))
        assert told == [(6, 24), (12, 24), (18, 24), (24, 24)]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"frame": 0}, UsageError, "expected one from 1 to 7"),
        ({"frame": FRAMES}, UsageError, "expected one from 1 to 7"),
        ({"object_id": 9}, MaskError, "no object 9"),
        ({"mask": "none.png"}, MaskError, "no such mask file"),
        ({"video": Path("none.mp4")}, InputError, "No such file"),
        ({"rate": float("inf")}, UsageError, "--rate inf: expected a finite number"),
        ({"rate": 1e300}, UsageError, r"--rate 1e\+300: the response diverges"),
    ],
)
def test_what_is_wrong_is_told_and_leaves_nothing(
    change: dict[str, object],
    error: type[VostoolError],
    words: str,
    job: ErfJob,
    predictor: Predictor,
) -> None:
    with pytest.raises(error, match=words):
        erf(replace(job, **change), [predictor])  # type: ignore[arg-type]
    assert not job.output.exists()
