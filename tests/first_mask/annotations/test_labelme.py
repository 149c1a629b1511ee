import base64
import io
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vostool.errors import MaskError, UsageError
from vostool.first_mask.annotations.pictures import AnnotatedObjects
from vostool.first_mask.starting_mask import read_starting_mask
from vostool.media.frame import Frame

FRAME = Frame(0, Fraction(0), np.zeros((40, 60, 3), np.uint8), "00000")
SQUARE = [[10.0, 5.0], [30.0, 5.0], [30.0, 25.0], [10.0, 25.0]]


def entry(label: str, points: list[Any], **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": "polygon", "flags": {}, **more}


def read(tmp_path: Path, *shapes: dict[str, Any], **more: Any) -> AnnotatedObjects:
    content = {"imagePath": "a.jpg", "imageHeight": 40, "imageWidth": 60, **more}
    path = tmp_path / "labels"  # the kind is in the content
    path.write_text(json.dumps({"version": "5.0", **content, "shapes": shapes}))
    return read_starting_mask(path, FRAME, None, [])


def test_a_polygon_covers_the_pixels_that_it_goes_around(tmp_path: Path) -> None:
    found = read(tmp_path, entry("cat", SQUARE))
    expected = np.zeros((40, 60), bool)
    expected[5:26, 10:31] = True  # and those that its outline passes through
    assert (found.labels == expected).all()
    assert found.names == {1: "cat"}


def test_every_shape_is_an_object_unless_label_and_group_say_otherwise(tmp_path: Path) -> None:
    far = [[40.0, 5.0], [50.0, 5.0], [50.0, 10.0]]
    low = [[40.0, 30.0], [50.0, 30.0], [50.0, 38.0]]
    found = read(
        tmp_path, entry("cat", SQUARE), entry("cat", far, group_id=3), entry("cat", low, group_id=3)
    )
    assert (found.labels[10, 20], found.labels[6, 48], found.labels[34, 48]) == (1, 2, 2)


def test_labels_that_are_numbers_are_the_ids(tmp_path: Path) -> None:
    far = [[40.0, 5.0], [50.0, 5.0], [50.0, 10.0]]
    found = read(
        tmp_path, entry("7", SQUARE), entry("03", far), entry("7", [[0, 0], [3, 0], [3, 3]])
    )
    assert (found.labels[10, 20], found.labels[6, 48], found.labels[1, 2]) == (7, 3, 7)


def test_rectangles_circles_and_masks_are_read(tmp_path: Path) -> None:
    part = np.zeros((6, 8), np.uint8)
    part[2:, 3:] = 1
    buffer = io.BytesIO()
    Image.fromarray(part * 255).convert("1").save(buffer, "PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    found = read(
        tmp_path,
        entry("a", [[10.0, 8.0], [2.0, 3.0]], shape_type="rectangle"),
        entry("b", [[30.0, 20.0], [36.0, 20.0]], shape_type="circle"),
        entry("c", [[50.0, 30.0], [57.0, 35.0]], shape_type="mask", mask=text),
    )
    assert (found.labels[3:9, 2:11] == 1).all()
    assert np.count_nonzero(found.labels == 2) == pytest.approx(np.pi * 36, rel=0.05)
    assert (found.labels[30:36, 50:58] == 3 * part).all()


def test_rectangles_of_four_corners_are_read_turned_or_not(tmp_path: Path) -> None:
    turned = [[45.0, 10.0], [50.0, 15.0], [45.0, 20.0], [40.0, 15.0]]
    found = read(
        tmp_path,
        entry("a", SQUARE, shape_type="rectangle"),
        entry("b", turned, shape_type="rotation"),
    )
    assert (found.labels[5:26, 10:31] == 1).all()
    assert (found.labels[15, 45], found.labels[11, 41]) == (2, 0)


def test_a_shape_without_a_kind_is_a_polygon_as_in_old_files(tmp_path: Path) -> None:
    assert read(tmp_path, entry("a", SQUARE, shape_type=None)).labels[10, 20] == 1


def test_shapes_without_an_area_are_left_out_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    shapes = [entry("cat", SQUARE), entry("tail", [[1.0, 1.0], [9.0, 9.0]], shape_type="line")]
    path.write_text(json.dumps({"shapes": shapes}))
    warnings: list[str] = []
    read_starting_mask(path, FRAME, None, warnings)
    assert warnings == [f"{path}: shapes without an area are left out: line"]
    with pytest.raises(MaskError, match=r"expected a shape with an area, found none but line"):
        read(tmp_path, shapes[1])


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (entry("cat", SQUARE[:2]), "expected three points or more, found 2"),
        (entry("cat", [[1.0, 1.0, 1.0]]), r"shapes\.0\.points\.0"),
        (entry("cat", [[1.0, "x"]]), r"shapes\.0\.points\.0\.1"),
        (entry("cat", [*SQUARE, [1e12, 3.0]]), "lies far outside of 60x40"),
        (entry("cat", SQUARE, shape_type="circle"), "expected 2 points, found 4"),
        (entry("cat", SQUARE[:2], shape_type="mask", mask="no"), "expected a PNG in base 64"),
        (entry("cat", SQUARE[:2], shape_type="mask", mask="bm8="), "cannot be read as a PNG"),
        ({"points": SQUARE}, r"shapes\.0\.label: expected, found none"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(shape: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(MaskError, match=words) as caught:
        read(tmp_path, shape)
    assert str(caught.value).startswith(str(tmp_path / "labels"))


def test_a_file_for_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match=r"a\.jpg is 90x40, the frame is 60x40"):
        read(tmp_path, entry("cat", SQUARE), imageWidth=90)


@pytest.mark.parametrize("text", ["{", "[1, 2]", "{}", '{"shapes": 3}', "[" * 100_000])
def test_other_json_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(text)
    with pytest.raises(MaskError, match=rf"^{path}: "):
        read_starting_mask(path, FRAME, None, [])


def test_a_threshold_is_refused_where_there_are_outlines(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"shapes": [entry("cat", SQUARE)]}))
    with pytest.raises(UsageError, match=r"--threshold 0\.5: .* has outlines"):
        read_starting_mask(path, FRAME, 0.5, [])
