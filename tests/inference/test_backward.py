from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import Footage, film
from vostool.errors import OutputError
from vostool.inference.absence import Absence
from vostool.inference.backward import WayBack
from vostool.inference.given_mask import Mask
from vostool.inference.prompts import GivenMasks
from vostool.media.frame import Frame
from vostool.media.video import probe, read_frames
from vostool.propagation.frames import Prediction


@pytest.fixture
def two(tmp_path: Path) -> Footage:
    return film(tmp_path / "two.mp4", tmp_path / "two.png", two=True)


def test_masks_and_absent_stretches_are_mirrored_at_the_turning_point(two: Footage) -> None:
    masks: dict[int, Mask] = {frame: two.labels[frame] for frame in (0, 4, 7)}
    given = GivenMasks(masks, probe(two.path), absence=Absence.of({1: [(2, 3), (5, 5)]}))
    mirrored = given.mirrored(4)
    assert list(mirrored.ids) == [4, 8]
    assert mirrored.digests == {4: given.digests[4], 8: given.digests[0]}
    assert (mirrored.labels(8) == two.labels[0]).all()
    assert [frame for frame in range(4, 9) if mirrored.absent_at(frame)] == [5, 6]
    assert given.frames == (0, 4, 7)


class TestMerging:
    def way(self, two: Footage, folder: Path) -> WayBack:
        masks: dict[int, Mask] = {0: two.labels[0], 4: two.labels[4]}
        return WayBack(two.path, 0, GivenMasks(masks, probe(two.path)), folder)

    def prediction(self, ids: tuple[int, ...], *objects: float) -> Prediction[None]:
        masks = torch.ones(1, 1 + len(ids), 4, 6) * torch.tensor([1 - sum(objects), *objects]).view(
            1, -1, 1, 1
        )
        return Prediction(ids, masks, None)

    def frame(self, two: Footage, index: int) -> Frame:
        return list(read_frames(two.path))[index]

    @pytest.mark.parametrize(("index", "share"), [(1, 0.75), (2, 0.5), (3, 0.25)])
    def test_masks_are_the_mean_weighted_by_the_distance_of_their_masks(
        self, two: Footage, tmp_path: Path, index: int, share: float
    ) -> None:
        way = self.way(two, tmp_path)
        way._write(index, self.prediction((2, 1), 0.2, 0.4))
        merged = way.merge(self.frame(two, index), self.prediction((1,), 0.8))
        assert merged.ids == (1, 2)
        expected = share * 0.8 + (1 - share) * 0.4
        assert merged.masks[0, 1].mean().item() == pytest.approx(expected, abs=0.005)
        assert merged.masks[0, 2].mean().item() == pytest.approx(0.2, abs=0.005)
        assert torch.allclose(merged.masks.sum(dim=1), torch.ones(()))

    def test_objects_that_claim_more_than_all_are_scaled(
        self, two: Footage, tmp_path: Path
    ) -> None:
        way = self.way(two, tmp_path)
        way._write(2, self.prediction((2,), 1.0))
        merged = way.merge(self.frame(two, 2), self.prediction((1,), 1.0))
        assert torch.allclose(merged.masks.sum(dim=1), torch.ones(()), atol=1e-5)
        # object 2 has no mask before this frame: it is taken from the way back as a whole
        assert merged.masks[0, :, 0, 0].tolist() == pytest.approx([0, 1 / 3, 2 / 3], abs=0.01)

    def test_masks_of_another_size_are_resized(self, two: Footage, tmp_path: Path) -> None:
        way = self.way(two, tmp_path)
        way._write(2, Prediction((1,), torch.full((1, 2, 2, 3), 0.5), None))
        merged = way.merge(self.frame(two, 2), self.prediction((1,), 0.5))
        assert merged.masks.shape == (1, 2, 4, 6)

    def test_finer_ones_are_not_made_coarser(self, two: Footage, tmp_path: Path) -> None:
        way = self.way(two, tmp_path)
        fine = torch.zeros(1, 3, 40, 60)
        fine[:, 2, 10:13, 10:13] = 1
        way._write(2, Prediction((1, 2), fine, None))
        for ahead in (self.prediction((1,), 0.0), Prediction((), torch.ones(1, 1, 4, 6), None)):
            merged = way.merge(self.frame(two, 2), ahead)
            assert torch.equal(merged.masks[:, 1 + merged.ids.index(2)], fine[:, 2])

    def test_a_frame_with_a_mask_is_taken_from_the_way_forward(
        self, two: Footage, tmp_path: Path
    ) -> None:
        prediction = self.prediction((1, 2), 0.5, 0.2)
        assert self.way(two, tmp_path).merge(self.frame(two, 5), prediction) is prediction

    def test_masks_that_cannot_be_read_again_are_an_output_error(
        self, two: Footage, tmp_path: Path
    ) -> None:
        way = self.way(two, tmp_path)
        (tmp_path / "00002.npz").write_bytes(b"cut off")
        with pytest.raises(OutputError, match=r"00002\.npz: cannot be read again"):
            way.merge(self.frame(two, 2), self.prediction((1,), 0.5))


def test_the_way_back_begins_with_the_last_mask_that_the_video_reaches(
    two: Footage, tmp_path: Path
) -> None:
    masks: dict[int, Mask] = {3: two.labels[3], 90: two.labels[4]}
    way = WayBack(two.path, 0, GivenMasks(masks, probe(two.path)), tmp_path)
    assert way.turn == 3
    assert way.frames == 4
    assert np.isclose(way.share(1, 5), 1)
