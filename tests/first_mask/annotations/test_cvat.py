from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from vostool.errors import MaskError
from vostool.first_mask.annotations.pictures import AnnotatedObjects
from vostool.first_mask.starting_mask import read_starting_mask
from vostool.media.frame import Frame

RGB = np.zeros((40, 60, 3), np.uint8)
POLYGON = '<polygon label="cat" points="10.0,5.0;30,5;30,25;10,25" z_order="{}"/>'


def frame(index: int = 0, name: str = "00000") -> Frame:
    return Frame(index, Fraction(index, 25), RGB, name)


def image(shapes: str, name: str = "frame_000000.png", size: str = 'width="60" height="40"') -> str:
    return f'<image id="0" name="{name}" {size}>{shapes}</image>'


def read(tmp_path: Path, *images: str, of: Frame | None = None) -> AnnotatedObjects:
    path = tmp_path / "annotations.xml"
    meta = "<version>1.1</version><meta/>"
    path.write_text(f'<?xml version="1.0"?>\n<annotations>{meta}{"".join(images)}</annotations>')
    return read_starting_mask(path, of or frame(), None, [])


def test_polygons_boxes_ellipses_and_masks_are_read(tmp_path: Path) -> None:
    shapes = (
        POLYGON.format(0)
        + '<box label="dog" xtl="40" ytl="2" xbr="50" ybr="8"/>'
        + '<ellipse label="ball" cx="45" cy="25" rx="6" ry="3"/>'
        + '<mask label="hat" rle="1, 2, 2, 1" left="3" top="30" width="3" height="2"/>'
    )
    found = read(tmp_path, image(shapes))
    assert found.names == {1: "cat", 2: "dog", 3: "ball", 4: "hat"}
    expected = np.zeros(RGB.shape[:2], np.uint8)  # from edge to edge, as CVAT has it
    expected[5:25, 10:30] = 1
    expected[2:8, 40:50] = 2
    assert (np.where(found.labels < 3, found.labels, 0) == expected).all()
    assert np.count_nonzero(found.labels == 3) == pytest.approx(np.pi * 18, rel=0.1)
    assert (found.labels[30:32, 3:6] == [[0, 4, 4], [0, 0, 4]]).all()


def test_a_higher_z_order_is_in_front(tmp_path: Path) -> None:
    box = '<box label="dog" xtl="12" ytl="8" xbr="20" ybr="12" z_order="{}"/>'
    front = read(tmp_path, image(box.format(2) + POLYGON.format(1)))
    assert {front.names[id_] for id_ in np.unique(front.labels) if id_} == {"cat", "dog"}
    behind = read(tmp_path, image(box.format(1) + POLYGON.format(2)))
    assert {behind.names[id_] for id_ in np.unique(behind.labels) if id_} == {"cat"}


def test_a_box_may_be_turned(tmp_path: Path) -> None:
    box = '<box label="dog" xtl="20" ytl="18" xbr="40" ybr="22" rotation="90"/>'
    labels = read(tmp_path, image(box)).labels
    assert labels[12, 30] and labels[28, 30]
    assert not labels[20, 22] and not labels[20, 38]


def test_shapes_of_one_label_and_group_are_one_object(tmp_path: Path) -> None:
    two = "".join(
        f'<box label="dog" xtl="{x}" ytl="2" xbr="{x + 5}" ybr="8" group_id="1"/>' for x in (1, 40)
    )
    labels = read(tmp_path, image(two)).labels
    assert labels[4, 3] == labels[4, 42] == 1


def test_group_0_is_none(tmp_path: Path) -> None:
    two = "".join(
        f'<box label="dog" xtl="{x}" ytl="2" xbr="{x + 5}" ybr="8" group_id="0"/>' for x in (1, 40)
    )
    labels = read(tmp_path, image(two)).labels
    assert (labels[4, 3], labels[4, 42]) == (1, 2)


def test_the_only_picture_is_taken_with_a_warning_if_it_is_numbered_as_another_frame(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.xml"
    path.write_text(f"<annotations>{image(POLYGON.format(0), 'frame_000007.png')}</annotations>")
    warnings: list[str] = []
    read_starting_mask(path, frame(7, "00007"), None, warnings)
    assert warnings == []
    read_starting_mask(path, frame(), None, warnings)
    assert warnings == [f"{path}: frame_000007.png is taken for frame 0; see --frame"]


def test_of_several_pictures_the_frames_own_is_taken(tmp_path: Path) -> None:
    box = '<box label="dog" xtl="1" ytl="1" xbr="5" ybr="5"/>'
    images = [image(POLYGON.format(0)), image(box, "sub/frame_000007.png"), image("", "frame_8")]
    assert read(tmp_path, *images, of=frame(7, "00007")).names == {1: "dog"}
    assert read(tmp_path, *images, of=frame(1, "frame_000007")).names == {1: "dog"}
    with pytest.raises(MaskError, match="named like frame 3, 00003, found 2 pictures, none of it"):
        read(tmp_path, *images, of=frame(3, "00003"))


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ('<polygon label="cat" points="1,2;3,4"/>', "expected three points or more, found 2"),
        ('<polygon label="cat" points="1,2;3"/>', "expected points x,y;x,y;..., found '3'"),
        ('<box label="cat" xtl="1" ytl="1" xbr="x" ybr="5"/>', "expected a number as xbr"),
        ('<box label="cat" xtl="1" ytl="1" ybr="5"/>', "expected a number as xbr, found None"),
        ('<box label="cat" xtl="1" ytl="1" xbr="9e9" ybr="5"/>', "lies far outside"),
        ('<mask label="a" rle="1, 2" left="0" top="0" width="3" height="2"/>', "runs of 3x2"),
        ('<mask label="a" rle="6" left="58" top="0" width="3" height="2"/>', "out of the picture"),
        ('<mask label="a" rle="" left="0" top="0" width="3" height="2"/>', "expected run lengths"),
        (
            '<points label="a" points="1,2"/>',
            "expected a shape with an area, found none but points",
        ),
    ],
)
def test_a_shape_that_cannot_be_is_refused(shapes: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(MaskError, match=words) as caught:
        read(tmp_path, image(shapes))
    assert str(caught.value).startswith(str(tmp_path / "annotations.xml"))


def test_a_picture_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match=r"frame_000000\.png is 90x40, the frame is 60x40"):
        read(tmp_path, image(POLYGON.format(0), size='width="90" height="40"'))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<annotations><track/></annotations>", "found a file of CVAT for video; export it as"),
        ("<annotations>", "expected an XML file: "),
        (
            "<annotation><object/></annotation>",
            "expected an XML file of CVAT, <annotations>, found",
        ),
        ('<!DOCTYPE a [<!ENTITY x "y">]><annotations/>', "found a document type"),
    ],
)
def test_other_xml_is_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(MaskError, match=words):
        read_starting_mask(path, frame(), None, [])
