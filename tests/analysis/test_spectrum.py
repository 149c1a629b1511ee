import json
import math
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from tests.conftest import HEIGHT, WIDTH, ColourNetwork, Footage
from tests.datasets.making import write_frames_clip, write_video_clip
from tests.media.making import delay_last_picture
from vostool.analysis.spectrum import SpectrumJob, amplitudes, bands, fit, spectrum
from vostool.errors import InputError, MaskError, OutputError, UsageError
from vostool.inference.predictor import Predictor
from vostool.media.time_codes import TimeCode
from vostool.model.stm import Stm
from vostool.propagation.correction import GradientCorrection


@pytest.fixture
def predictor(weights: Path) -> Predictor:
    network = cast(Stm, ColourNetwork())
    correction = GradientCorrection(every=2, steps=2, rate=3e4)
    cpu = torch.device("cpu")
    return Predictor(network, weights, cpu, torch.float32, size=HEIGHT, correction=correction)


@pytest.fixture
def job(video: Footage, tmp_path: Path) -> SpectrumJob:
    return SpectrumJob(video.path, tmp_path / "out", mask=str(video.mask))


def square() -> Tensor:
    mask = torch.zeros(1, 32, 48)
    mask[:, 10:22, 12:30] = 1
    return mask


class TestEquation9:
    def test_is_the_ratio_of_the_amplitudes(self) -> None:
        generator = torch.Generator().manual_seed(0)
        before, after = torch.rand(2, 3, 32, 48, generator=generator)
        maps = amplitudes(before, after)
        first, last = (np.abs(np.fft.fft2(mask.double().numpy())) for mask in (before, after))
        expected = np.fft.fftshift(last / first, axes=(1, 2))
        np.testing.assert_allclose(maps[:, 2].numpy(), expected, rtol=1e-9)

    def test_is_one_where_nothing_changed(self) -> None:
        mask = square() + 0.1 * torch.rand(1, 32, 48, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(amplitudes(mask, mask)[0, 2], torch.ones(32, 48).double())

    def test_has_the_mean_of_the_mask_in_the_middle(self) -> None:
        maps = amplitudes(square(), square() / 2)
        mean = square().mean().item()
        assert maps[0, :2, 16, 24].tolist() == pytest.approx([mean, mean / 2])

    def test_tells_blurred_from_sharpened_by_the_high_band(self) -> None:
        soft = functional.avg_pool2d(square(), 3, 1, 1)
        for before, after, raised in ((soft, square(), True), (square(), soft, False)):
            maps = amplitudes(before, after)[0].numpy()
            found = bands(dict(zip(("before", "after", "ratio"), maps, strict=True)))
            high, low = found["high"].after_to_before, found["low"].after_to_before
            assert high is not None
            assert (high > 1.2) == raised
            assert low == pytest.approx(1, abs=0.1)

    def test_of_masks_without_objects_have_no_ratio_of_means(self) -> None:
        empty = dict.fromkeys(("before", "after", "ratio"), np.zeros((8, 8)))
        assert {band.after_to_before for band in bands(empty).values()} == {None}

    def test_of_another_size_is_brought_to_the_same_frequencies(self) -> None:
        maps = amplitudes(square(), square())[0].numpy()
        assert fit(maps, (32, 48)) is maps
        assert fit(maps, (48, 48)).shape == (3, 48, 48)


def test_what_was_put_right_in_the_video_is_in_the_report(
    job: SpectrumJob, predictor: Predictor, video: Footage
) -> None:
    delay_last_picture(video.path)
    (warning,) = spectrum(job, predictor).warnings
    assert warning.startswith(f"{video.path}: its clock breaks off at frame ")


class TestFiles:
    def test_are_a_picture_three_arrays_and_a_report(
        self, job: SpectrumJob, predictor: Predictor
    ) -> None:
        report = spectrum(job, predictor)
        names = {"spectrum.png", "before.npy", "after.npy", "ratio.npy", "spectrum.json"}
        assert {path.name for path in job.output.iterdir()} == names
        stored = json.loads((job.output / "spectrum.json").read_text())
        assert stored == json.loads(json.dumps(report.model_dump(), default=str))
        assert report.masks == 3  # of frames 2, 4 and 6
        maps = [np.load(job.output / f"{name}.npy") for name in ("before", "after", "ratio")]
        assert {each.shape for each in maps} == {(HEIGHT, WIDTH)}
        figures = [value for band in report.bands.values() for value in band.model_dump().values()]
        assert all(math.isfinite(value) for value in figures)
        with Image.open(job.output / "spectrum.png") as picture:
            picture.load()

    def test_are_replaced_only_on_request(self, job: SpectrumJob, predictor: Predictor) -> None:
        spectrum(job, predictor)
        with pytest.raises(OutputError, match="exists already"):
            spectrum(job, predictor)
        spectrum(replace(job, overwrite=True), predictor)


def test_a_folder_of_clips_is_gone_through(predictor: Predictor, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_video_clip(tmp_path / "set", name, count=5)
    job = SpectrumJob(tmp_path / "set", tmp_path / "out")
    assert spectrum(job, predictor).clips == ["one", "two"]
    (tmp_path / "list.txt").write_text("two\n")
    chosen = replace(job, listed=tmp_path / "list.txt", overwrite=True)
    assert spectrum(chosen, predictor).clips == ["two"]


def test_a_clip_is_followed_from_the_frame_that_its_first_mask_is_named_after(
    predictor: Predictor, tmp_path: Path
) -> None:
    """As in YouTube-VOS, where that need not be the first frame, nor frames be counted from 0."""
    numbers = list(range(10, 50, 5))
    write_frames_clip(tmp_path / "set", "late", numbers, masked=[25, 30])
    job = SpectrumJob(tmp_path / "set", tmp_path / "out")
    assert spectrum(job, predictor).masks == 2, "frames 4 and 6, of those from 3 to 7"
    (tmp_path / "set" / "JPEGImages" / "late" / "00025.jpg").unlink()
    with pytest.raises(MaskError, match=r"00025\.png: there is no frame named 00025"):
        spectrum(replace(job, overwrite=True), predictor)


def test_the_end_may_be_a_time(job: SpectrumJob, predictor: Predictor) -> None:
    whole = spectrum(job, predictor)
    half = spectrum(replace(job, end=TimeCode("0:00.16"), overwrite=True), predictor)
    assert 0 < half.masks < whole.masks
    assert half.options["end"] == "0:00.16"


def test_what_is_wrong_is_told_and_leaves_nothing(job: SpectrumJob, predictor: Predictor) -> None:
    with pytest.raises(UsageError, match="expected a correction: steps and a rate above 0"):
        spectrum(job, replace(predictor, correction=None))
    with pytest.raises(UsageError, match="expected --mask"):
        spectrum(replace(job, mask=None), predictor)
    with pytest.raises(UsageError, match="a single video"):
        spectrum(replace(job, listed=Path("list.txt")), predictor)
    with pytest.raises(InputError, match="no frame was corrected"):
        spectrum(replace(job, end=2), predictor)
    with pytest.raises(MaskError, match="is for frame 99, the video has 8"):
        spectrum(replace(job, mask=f"99:{job.mask}"), predictor)
    assert not job.output.exists()
