import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask

from vostool.datasets.coco import Runs, decode_counts, draw_mask, read_coco
from vostool.datasets.sequences import load_coco
from vostool.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

HEIGHT, WIDTH = 48, 64
BOX = [5, 5, 50, 5, 50, 40, 5, 40]
HUGE = 10**400


def write(folder: Path, image: dict[str, Any] | None = None, **changes: Any) -> Path:
    """Write a file of one picture with one object; returns it."""
    picture = {"id": 1, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT} | (image or {})
    entry = {"id": 7, "image_id": 1, "iscrowd": 0, "area": 2000, "segmentation": [BOX]} | changes
    path = folder / "some.json"
    path.write_text(json.dumps({"images": [picture], "annotations": [entry]}))
    (folder / "some").mkdir(exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "some" / "a.jpg")
    return path


def random_mask(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asfortranarray(rng.random((HEIGHT, WIDTH)) < rng.random(), np.uint8)


class TestRunLengths:
    @pytest.mark.parametrize("seed", range(5))
    def test_are_read_as_pycocotools_writes_them(self, seed: int) -> None:
        truth = random_mask(seed)
        text = mask.encode(truth)["counts"].decode()
        runs = Runs(size=(HEIGHT, WIDTH), counts=text)
        assert (draw_mask(runs, HEIGHT, WIDTH) == truth).all()
        plain = Runs(size=(HEIGHT, WIDTH), counts=decode_counts(text))
        assert (draw_mask(plain, HEIGHT, WIDTH) == truth).all()

    @pytest.mark.parametrize(
        "counts",
        [
            "",
            "\x00",
            "é",
            "o" * 9,
            "o" * 99,
            "1",
            [],
            [5],
            [-5, 5 + HEIGHT * WIDTH],
            [2**70],
            [1.5],
        ],
    )
    def test_that_do_not_fill_the_picture_are_refused(
        self, counts: str | list[int], tmp_path: Path
    ) -> None:
        path = write(tmp_path, segmentation={"size": [HEIGHT, WIDTH], "counts": counts})
        with pytest.raises(InputError, match=r"some\.json: annotation 7: .*counts"):
            list(read_coco(path, 900, 254))

    @pytest.mark.parametrize("size", [[WIDTH, HEIGHT], [10**6, 10**6], [-1, 4], [], None, "ab"])
    def test_of_another_size_are_refused(self, size: Any, tmp_path: Path) -> None:
        path = write(tmp_path, segmentation={"size": size, "counts": [HEIGHT * WIDTH]})
        with pytest.raises(InputError, match=r"some\.json: annotation 7: .*size"):
            list(read_coco(path, 900, 254))


class TestPolygons:
    @pytest.mark.parametrize(
        "polygons",
        [
            [[5, 5, 50]],
            [[1, 2, 3, 4]],
            [[5, 5, 50, 5, 50, 40, 9]],
            [[5, 5, 50, 5, 50, float("nan")]],
            [[5, 5, 50, 5, 50, float("inf")]],
            [[5, 5, 50, 5, 50, 1e9]],
            [[5, 5, 50, 5, 50, -1e9]],
            [[5, 5, 50, 5, 50, "40"]],
            [[0, 0, WIDTH, HEIGHT] * 20_000],
            [["a"] * 6],
            [[]],
            [],
            [5, 5, 50, 5, 50, 40],
            None,
            "BOX",
            {},
        ],
    )
    def test_that_cannot_be_drawn_are_refused_by_file_and_annotation(
        self, polygons: Any, tmp_path: Path
    ) -> None:
        with pytest.raises(InputError, match=r"some\.json: annotation 7: ") as caught:
            list(read_coco(write(tmp_path, segmentation=polygons), 900, 254))
        assert "\n" not in str(caught.value)

    def test_may_reach_a_little_out_of_the_picture(self, tmp_path: Path) -> None:
        path = write(tmp_path, segmentation=[[-0.5, -1, WIDTH + 0.4, -1, WIDTH, HEIGHT, 0, HEIGHT]])
        (picture,) = read_coco(path, 900, 254)
        assert picture.draw().all()


class TestPictures:
    @pytest.mark.parametrize(
        "image",
        [
            {"width": 10**6, "height": 10**6},
            {"width": 60_000, "height": 60_000},
            {"width": 0},
            {"height": -4},
            {"height": "48"},
            {"height": None},
            {"file_name": 3},
            {"file_name": "../a.jpg"},
            {"file_name": "/etc/a.jpg"},
        ],
    )
    def test_that_cannot_be_are_refused_by_name(
        self, image: dict[str, Any], tmp_path: Path
    ) -> None:
        with pytest.raises(InputError, match=r"some\.json: image 1: "):
            list(read_coco(write(tmp_path, image), 900, 254))

    def test_of_another_size_than_the_file_says_are_refused(self, tmp_path: Path) -> None:
        path = write(tmp_path, {"width": 2 * WIDTH})
        (found,) = load_coco(tmp_path, Path(path.name), HEIGHT)
        with pytest.raises(InputError, match=r"a\.jpg: picture is 64x48, the COCO file says 128x"):
            found.pick([0])

    @pytest.mark.parametrize("area", [None, "2000", float("nan"), [2000], HUGE])
    def test_with_an_object_of_no_area_are_refused(self, area: Any, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"some\.json: "):
            list(read_coco(write(tmp_path, area=area), 900, 254))

    def test_show_no_crowds_and_no_small_objects(self, tmp_path: Path) -> None:
        assert list(read_coco(write(tmp_path, iscrowd=1), 900, 254)) == []
        assert list(read_coco(write(tmp_path, area=899), 900, 254)) == []


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '"a"',
        "[" * 100_000,
        '{"images": 3}',
        '{"images": [3]}',
        '{"annotations": {}}',
        '{"annotations": [3]}',
        '{"annotations": [{"id": 3}]}',
        '{"images": [{"id": []}]}',
    ],
)
def test_what_is_no_coco_file_is_refused_in_a_line(content: str, tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"some\.json: ") as caught:
        list(read_coco(path, 900, 254))
    assert "\n" not in str(caught.value)
