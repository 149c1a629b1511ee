import numpy as np
import pytest

from vostool.errors import MaskError, UsageError
from vostool.first_mask.drawing import Drawing, Kind, paint
from vostool.first_mask.outlines import fill_ellipse, fill_polygon

RGB = np.zeros((40, 60, 3), np.uint8)
EMPTY = np.zeros((40, 60), np.uint8)


def painted(*shapes: tuple[Kind, str], labels: np.ndarray = EMPTY) -> np.ndarray:
    return paint([Drawing.parse(*shape) for shape in shapes], RGB, labels, [])


def test_a_polygon_is_read_as_corners() -> None:
    drawing = Drawing.parse("polygon", "3:1,2, 10.5,2,1,9e0")
    assert drawing.id == 3
    assert drawing.corners == ((1, 2), (10.5, 2), (1, 9))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("polygon", "1:1,2,3,4"),
        ("polygon", "1:1,2,3,4,5"),
        ("polygon", "1:1,2,3,4,5,x"),
        ("polygon", "1:1,2,3,4,5,nan"),
        ("polygon", "1:1,2,3,4,5,inf"),
        ("polygon", "1,2,3,4,5,6"),
        ("polygon", "0:1,2,3,4,5,6"),
        ("polygon", "255:1,2,3,4,5,6"),
        ("polygon", "9999999:1,2,3,4,5,6"),
        ("polygon", "-1:1,2,3,4,5,6"),
        ("polygon", "cat:1,2,3,4,5,6"),
        ("polygon", ""),
        ("box", "1:1,2,3"),
        ("box", "1:1,2,0,4"),
        ("ellipse", "1:1,2,3,-4"),
        ("ellipse", "1:1,2,3,4,5"),
    ],
)
def test_a_malformed_shape_is_a_usage_error_that_shows_the_form(kind: Kind, text: str) -> None:
    with pytest.raises(UsageError, match=rf"^--{kind} .*expected.*ID:x,y,"):
        Drawing.parse(kind, text)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("polygon", "1:1,2,61,2,1,9"),
        ("polygon", "1:1,-1,20,2,1,9"),
        ("ellipse", "1:50,2,11,9"),
        ("box", "1:-1,2,11,9"),
        ("box", "1:1,35,11,9"),
    ],
)
def test_a_shape_out_of_the_frame_is_a_usage_error(kind: Kind, text: str) -> None:
    with pytest.raises(UsageError, match="lies out of the frame of 60x40"):
        painted((kind, text))


def test_a_shape_may_reach_the_edges_of_the_frame() -> None:
    assert (painted(("polygon", "1:0,0,60,0,60,40,0,40")) == 1).all()


def test_later_shapes_are_in_front_and_those_of_one_id_add_up() -> None:
    first = ("polygon", "2:0,0,30,0,30,20,0,20")
    second = ("ellipse", "1:10,5,40,30")
    third = ("polygon", "2:20,15,25,15,25,18")
    labels = painted(first, second, third)  # type: ignore[arg-type]
    expected = np.zeros_like(EMPTY)
    expected[:21, :31] = 2
    expected[fill_ellipse((10, 5, 40, 30), EMPTY.shape)] = 1
    expected[fill_polygon([(20, 15), (25, 15), (25, 18)], EMPTY.shape)] = 2
    assert (labels == expected).all()


def test_shapes_are_painted_over_the_mask_that_is_given_which_stays_as_it_is() -> None:
    given = np.full_like(EMPTY, 7)
    labels = painted(("ellipse", "1:10,5,40,30"), labels=given)
    assert set(np.unique(labels)) == {1, 7}
    assert (given == 7).all()


def test_an_object_that_is_hidden_and_a_shape_without_a_pixel_are_warned_of() -> None:
    warnings: list[str] = []
    texts: list[tuple[Kind, str]] = [
        ("ellipse", "1:10,5,9,9"),
        ("polygon", "2:0,0,60,0,60,40,0,40"),
        ("ellipse", "2:10,5,0.2,0.2"),
    ]
    paint([Drawing.parse(*each) for each in texts], RGB, EMPTY, warnings)
    assert warnings == [
        "--ellipse 2:10,5,0.2,0.2: covers the middle of no pixel",
        "object 1: later shapes hide all of it",
    ]


def test_a_box_is_cut_by_its_colours_and_one_that_collapses_is_refused() -> None:
    rgb = RGB.copy()
    rgb[:] = np.random.default_rng(0).integers(0, 40, rgb.shape)
    rgb[12:28, 20:40] = (220, 90, 20)
    labels = paint([Drawing.parse("box", "4:15,8,30,24")], rgb, EMPTY, [])
    assert (labels[12:28, 20:40] == 4).all()
    assert np.count_nonzero(labels) == 16 * 20
    with pytest.raises(MaskError, match="--polygon"):
        painted(("box", "4:15,8,30,24"))
