import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vostool.errors import MaskError
from vostool.first_mask.starting_mask import read_starting_mask
from vostool.media.frame import Frame

FRAME = Frame(7, Fraction(0), np.zeros((40, 60, 3), np.uint8), "00007")


def box(id_: int, x: int, y: int, w: int, h: int, image: int = 1, **more: Any) -> dict[str, Any]:
    corners = [x, y, x + w, y, x + w, y + h, x, y + h]
    return {"id": id_, "image_id": image, "area": w * h, "segmentation": [corners], **more}


def write(tmp_path: Path, *entries: dict[str, Any], images: tuple[str, ...] = ("a.jpg",)) -> Path:
    path = tmp_path / "instances.json"
    pictures = [
        {"id": number, "file_name": name, "width": 60, "height": 40}
        for number, name in enumerate(images, start=1)
    ]
    path.write_text(json.dumps({"images": pictures, "annotations": entries, "categories": []}))
    return path


def test_objects_are_numbered_in_the_order_of_their_ids_and_smaller_ones_are_in_front(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, box(205, 5, 5, 40, 30), box(90, 10, 10, 8, 8))
    labels = read_starting_mask(path, FRAME, None, []).labels
    expected = np.zeros((40, 60), np.uint8)
    expected[5:35, 5:45] = 2
    expected[10:18, 10:18] = 1
    assert (labels == expected).all()


def test_a_mask_in_run_lengths_is_read_and_a_crowd_is_no_object(tmp_path: Path) -> None:
    runs = {"size": [40, 60], "counts": [0, 80, 2320]}
    first = {"id": 1, "image_id": 1, "area": 80, "segmentation": runs}
    path = write(tmp_path, first, box(2, 30, 0, 9, 9, iscrowd=1))
    labels = read_starting_mask(path, FRAME, None, []).labels
    assert (labels[:, :2] == 1).all()
    assert np.count_nonzero(labels) == 80


def test_of_several_pictures_the_frames_own_is_taken(tmp_path: Path) -> None:
    images = ("clip_00003.jpg", "clip_00007.jpg")
    path = write(tmp_path, box(1, 0, 0, 9, 9), box(2, 20, 20, 9, 9, image=2), images=images)
    labels = read_starting_mask(path, FRAME, None, []).labels
    assert np.argwhere(labels).min(axis=0).tolist() == [20, 20]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"id": 1, "image_id": 1}, "annotation 1"),
        (box(1, 0, 0, 9, 9, area="x"), "annotation"),
        (box(1, 900, 0, 9, 9), "far outside"),
        ({**box(1, 0, 0, 9, 9), "segmentation": {"size": [40, 61], "counts": [1]}}, "60x40"),
    ],
)
def test_an_entry_that_cannot_be_is_a_mask_error_that_names_it(
    entry: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = write(tmp_path, entry)
    with pytest.raises(MaskError, match=words) as caught:
        read_starting_mask(path, FRAME, None, [])
    assert str(caught.value).startswith(str(path))


def test_a_file_without_an_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match="expected a picture named like frame 7"):
        read_starting_mask(write(tmp_path), FRAME, None, [])
