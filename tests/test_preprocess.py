from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vostool.evaluate.metrics import jaccard
from vostool.inference.placement import Placement
from vostool.preprocess import (
    BilinearAxis,
    is_capped,
    label_map,
    most_pixels,
    object_tensor,
    resized_frame,
    soft_masks,
    upsample,
    working_size,
)

CPU = torch.device("cpu")


def disc(height: int, width: int, id_: int = 1) -> NDArray[np.uint8]:
    """Return labels of a disc in the middle."""
    y, x = np.mgrid[:height, :width]
    inside = np.hypot(y - height / 2, x - width / 2) < height / 3
    return np.where(inside, id_, 0).astype(np.uint8)


class TestWorkingSize:
    @pytest.mark.parametrize("stride", [1, 8, 16])
    @pytest.mark.parametrize("short_side", [64, 240, 480])
    @pytest.mark.parametrize("shape", [(480, 854), (1080, 1920), (1280, 720), (100, 100)])
    def test_is_about_what_is_asked_in_whole_strides(
        self, shape: tuple[int, int], short_side: int, stride: int
    ) -> None:
        size = working_size(*shape, short_side, stride)
        assert all(side % stride == 0 for side in size)
        assert min(size) == short_side
        scale = short_side / min(shape)
        for side, original in zip(size, shape, strict=True):
            assert abs(side - scale * original) <= stride / 2

    def test_rounds_what_is_no_multiple_to_the_nearest(self) -> None:
        assert working_size(480, 854, 250, 16) == (256, 448)

    def test_is_never_nothing(self) -> None:
        assert working_size(10, 400, 4, 16) == (16, 160)

    @pytest.mark.parametrize("shape", [(2, 600), (600, 2), (1, 100_000), (30, 50_000)])
    @pytest.mark.parametrize("short_side", [64, 240, 320, 480])
    def test_is_bounded_however_long_a_frame_is(
        self, shape: tuple[int, int], short_side: int
    ) -> None:
        height, width = working_size(*shape, short_side, 16)
        assert is_capped(*shape, short_side)
        assert height * width <= most_pixels(short_side) == max(4 * short_side**2, 256**2)
        assert height % 16 == width % 16 == 0
        assert (height < width) == (shape[0] < shape[1])

    @pytest.mark.parametrize("shape", [(1080, 3840), (100, 400), (480, 854)])
    def test_is_not_bounded_up_to_4_to_1(self, shape: tuple[int, int]) -> None:
        assert not is_capped(*shape, 320)
        assert min(working_size(*shape, 320, 16)) == 320


class TestImages:
    def test_are_between_0_and_1_and_of_the_size_asked(self) -> None:
        rgb = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
        image = Placement((32, 48)).image(rgb, CPU)
        assert image.shape == (1, 3, 32, 48)
        assert image.dtype == torch.float32
        assert image.min() >= 0
        assert image.max() <= 1
        assert image.mean() == pytest.approx(rgb.mean() / 255, abs=0.01)

    def test_are_left_as_they_are_where_the_size_fits(self) -> None:
        rgb = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
        image = Placement((32, 48)).image(rgb, CPU)
        torch.testing.assert_close(image[0], torch.from_numpy(rgb).permute(2, 0, 1) / 255)

    def test_are_smoothed_as_they_shrink(self) -> None:
        stripes = np.zeros((32, 64, 3), np.uint8)
        stripes[:, ::2] = 254
        image = Placement((16, 16)).image(stripes, CPU)
        assert (image - 127 / 255).abs().max() < 0.05


class TestObjects:
    def test_may_be_of_labels_that_cannot_be_written_such_as_those_of_an_open_file(self) -> None:
        labels = np.ones((16, 16), np.uint8)
        labels.flags.writeable = False
        assert object_tensor(labels, (1,), (16, 16), CPU).all()

    def test_come_in_the_order_of_their_ids(self) -> None:
        labels = np.zeros((32, 32), np.uint8)
        labels[:16], labels[16:, 16:] = 9, 4
        masks = object_tensor(labels, (4, 9), (16, 16), CPU)
        assert masks.shape == (1, 2, 16, 16)
        assert masks[0, 0, 8:, 8:].all()
        assert masks[0, 1, :8].all()
        assert masks.sum() == 3 * 64

    def test_are_0_or_1_and_keep_their_area(self) -> None:
        labels = disc(120, 160)
        masks = object_tensor(labels, (1,), (48, 64), CPU)
        assert set(masks.unique().tolist()) == {0, 1}
        assert masks.mean() == pytest.approx((labels > 0).mean(), rel=0.03)

    def test_survive_however_thin_they_are(self) -> None:
        labels = np.zeros((480, 640), np.uint8)
        labels[:, 300] = 1  # a line, a quarter of a pixel of the small mask
        labels[100, 100] = 2  # a single pixel
        masks = object_tensor(labels, (1, 2), (120, 160), CPU)
        assert masks[0, 0].any(dim=1).all(), "the line has gaps"
        assert masks[0, 1].sum() >= 1
        assert masks[0, 0].sum() < 3 * 120

    def test_do_not_overlap(self) -> None:
        labels = np.zeros((60, 60), np.uint8)
        labels[:31], labels[31:] = 1, 2
        assert object_tensor(labels, (1, 2), (16, 16), CPU).sum(dim=1).max() == 1


class TestLabelMaps:
    def test_take_the_most_probable_and_give_its_id(self) -> None:
        masks = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.3, 0.2, 0.5]]).T
        labels = label_map(masks.reshape(1, 3, 1, 3), (7, 3), (1, 3))
        assert labels.tolist() == [[0, 7, 3]]
        assert labels.dtype == np.uint8

    def test_are_all_background_without_objects(self) -> None:
        assert not label_map(torch.ones(1, 1, 4, 6), (), (8, 12)).any()

    def test_bring_an_object_back_at_the_size_of_the_frame(self) -> None:
        labels = disc(120, 160, id_=200)
        small = object_tensor(labels, (200,), (48, 64), CPU)
        back = label_map(torch.cat([1 - small, small], dim=1), (200,), (120, 160))
        assert np.unique(back).tolist() == [0, 200]
        assert jaccard(labels > 0, back > 0) > 0.95

    def test_enlarge_probabilities_so_that_slanted_edges_have_no_stairs(self) -> None:
        y, x = np.mgrid[:16, :16]
        inside = torch.from_numpy(np.clip((x - y) / 2 + 0.5, 0, 1)).float()[None, None]
        large = label_map(torch.cat([1 - inside, inside], dim=1), (1,), (128, 128))
        edge = large.argmax(axis=1)[8:-16]  # where the object begins in each row
        assert np.abs(np.diff(edge.astype(int))).max() <= 2

    @pytest.mark.parametrize("size", [(135, 240), (97, 151), (30, 54), (17, 23)])
    @pytest.mark.parametrize("count", [1, 2, 12])
    def test_are_those_of_all_masks_enlarged_whole(self, count: int, size: tuple[int, int]) -> None:
        """However small the part is that is looked at, also at the border and for lost objects."""
        generator = torch.Generator().manual_seed(count)
        y, x = torch.arange(30.0).view(30, 1), torch.arange(54.0)
        middles = torch.rand(count, 2, generator=generator) * torch.tensor([30, 54])
        middles[-1] = torch.tensor([29.0, 53.0])
        logits = torch.stack([4 - torch.hypot(y - top, x - left) for top, left in middles])
        logits += torch.randn(logits.shape, generator=generator)
        if count > 2:
            logits[3] = -9  # lost
        masks = torch.cat([torch.zeros(1, 30, 54), logits]).softmax(dim=0)[None]
        ids = [2 * channel + 3 for channel in range(count)]
        whole = functional.interpolate(masks, size=size, mode="bilinear")
        expected = np.array([0, *ids])[whole[0].argmax(dim=0).numpy()]
        assert (label_map(masks, ids, size) == expected).all()
        assert len(np.unique(expected)) > min(count, 2)

    def test_are_enlarged_only_around_the_objects(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sizes: list[tuple[int, ...]] = []

        def recorded(mask: Tensor, rows: BilinearAxis, columns: BilinearAxis) -> Tensor:
            large = upsample(mask, rows, columns)
            sizes.append(tuple(large.shape))
            return large

        monkeypatch.setattr("vostool.preprocess.upsample", recorded)
        objects = torch.zeros(1, 2, 30, 54)
        objects[0, 0, 10:13, 20:24] = objects[0, 1, 12:15, 25:27] = 1
        masks = torch.cat([1 - objects.sum(dim=1, keepdim=True), objects], dim=1)
        labels = label_map(masks, (1, 2), (300, 540))
        assert np.unique(labels).tolist() == [0, 1, 2]
        # a small pixel reaches half the way to the next ones: 10 for each, and 10 at the ends
        assert sizes == [(60, 80), (40, 50), (40, 30)]

    @pytest.mark.parametrize("size", [(135, 240), (97, 151), (17, 23), (2, 3)])
    def test_are_the_same_to_the_bit_band_by_band(
        self, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        generator = torch.Generator().manual_seed(1)
        masks = torch.randn(1, 4, 15, 27, generator=generator).mul(3).softmax(dim=1)
        masks[:, 3, :, 14:] = 0
        whole = label_map(masks, (4, 2, 9), size), soft_masks(masks, size)
        monkeypatch.setattr("vostool.preprocess.CACHED", 3 * size[1])
        parts = label_map(masks, (4, 2, 9), size), soft_masks(masks, size)
        assert (whole[0] == parts[0]).all()
        assert (whole[1] == parts[1]).all()
        assert len(np.unique(whole[0])) > 1


TASKS = Path("/proc/self/task")  # the threads of this process, on Linux


@pytest.mark.skipif(not TASKS.is_dir(), reason="no /proc")
@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="bytes are resized by vector instructions of x86",
)
def test_resizing_in_a_thread_starts_no_threads_beside_those_of_the_network() -> None:
    rgb = np.zeros((270, 480, 3), np.uint8)

    def threads_after(work: object) -> set[Path]:
        assert callable(work)
        work()
        return set(TASKS.iterdir())

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with ThreadPoolExecutor(1) as pool:
            started = pool.submit(threads_after, lambda: None).result()
            resized = pool.submit(threads_after, lambda: resized_frame(rgb, (240, 427), CPU))
            assert resized.result() <= started  # others may end meanwhile
            whole = pool.submit(threads_after, lambda: Placement((240, 427)).image(rgb, CPU))
            assert whole.result() - started, "as the image as a whole does"
    finally:
        torch.set_num_threads(before)
