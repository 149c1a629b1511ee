"""Every export read back: by pycocotools, by our readers of annotations, and by the formats."""

import contextlib
import csv
import io
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from tests.conftest import FRAMES, HEIGHT, WIDTH, segmented
from vostool.first_mask.annotations.cvat import read_cvat
from vostool.first_mask.annotations.labelme import read_labelme
from vostool.media.frame import Frame, VideoInfo, frame_name
from vostool.segment.settings import Settings
from vostool.segment.writers import Source, writer_of

# pycocotools has not caught up with numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Labels = NDArray[np.uint8]
INFO = VideoInfo(
    path=Path("party.mp4"),
    width=WIDTH,
    height=HEIGHT,
    frames=FRAMES,
    rate=Fraction(25),
    seconds=None,
    rotation=0,
    codec="h264",
    pixel_format="yuv420p",
    pixel_aspect=Fraction(1),
    has_audio=False,
)
NAMES = {1: "horse", 7: 'rider "A" & <B>', 9: "horse"}
SOURCE = Source(Path("party.mp4"), INFO, start=3, objects=(1, 7, 9), settings=Settings(NAMES))


def scene() -> list[Labels]:
    """Object 1 in two parts with a hole, 7 from the second frame on, 9 only once, one empty."""
    found = []
    for index in range(FRAMES):
        labels = np.zeros((HEIGHT, WIDTH), np.uint8)
        labels[10:30, 5 + index : 25 + index] = 1
        labels[15:20, 10 + index : 15 + index] = 0
        labels[40:43, 60:] = 1
        if index:
            labels[2:9, 30:50] = 7
        if index == 4:
            labels[46, 0] = 9
        found.append(labels * (index != 6))
    return found


@pytest.fixture
def truth() -> list[Labels]:
    return scene()


def write(name: str, folder: Path, truth: list[Labels], source: Source = SOURCE) -> Path:
    with writer_of(name, folder, source) as writer:
        writer.begin()
        for number, labels in enumerate(truth, start=source.start):
            rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            frame = Frame(number, Fraction(number, 25), rgb, frame_name(number))
            writer.add(segmented(frame, labels))
    return writer.written


def ids_of(labels: Labels) -> list[int]:
    return [int(id_) for id_ in np.unique(labels) if id_]


def test_coco_has_the_same_masks_ids_and_names(truth: list[Labels], tmp_path: Path) -> None:
    path = write("coco", tmp_path, truth)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    assert coco.loadImgs([1])[0]["file_name"] == "00003.png"
    assert len(coco.getImgIds()) == FRAMES
    for image_id, labels in zip(sorted(coco.getImgIds()), truth, strict=True):
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[image_id]))
        assert [each["track_id"] for each in annotations] == ids_of(labels)
        for each in annotations:
            mask = labels == each["track_id"]
            assert (coco.annToMask(each) == mask).all()
            assert each["area"] == mask.sum()
            assert each["bbox"] == rle.toBbox(each["segmentation"]).tolist()
            category = coco.loadCats([each["category_id"]])[0]
            assert category["name"] == NAMES[each["track_id"]]


def test_objects_of_one_name_are_one_category(truth: list[Labels], tmp_path: Path) -> None:
    document = json.loads(write("coco", tmp_path, truth).read_text())
    assert [each["name"] for each in document["categories"]] == ["horse", NAMES[7]]


def test_youtube_vis_has_each_object_as_a_track(truth: list[Labels], tmp_path: Path) -> None:
    document = json.loads(write("ytvis", tmp_path, truth).read_text())
    (video,) = document["videos"]
    assert (video["length"], len(video["file_names"])) == (FRAMES, FRAMES)
    assert (video["height"], video["width"]) == (HEIGHT, WIDTH)
    names = {each["id"]: each["name"] for each in document["categories"]}
    assert [each["track_id"] for each in document["annotations"]] == [1, 7, 9]
    for track in document["annotations"]:
        assert names[track["category_id"]] == NAMES[track["track_id"]]
        assert track["video_id"] == video["id"]
        parts = zip(track["segmentations"], track["bboxes"], track["areas"], truth, strict=True)
        for mask, box, area, labels in parts:
            expected = labels == track["track_id"]
            if not expected.any():
                assert mask is box is area is None
                continue
            assert (rle.decode(mask) == expected).all()
            assert box == rle.toBbox(mask).tolist()
            assert area == expected.sum()


def test_cvat_has_the_same_masks_ids_and_names(truth: list[Labels], tmp_path: Path) -> None:
    path = write("cvat", tmp_path, truth)
    pictures = {each.name: each for each in read_cvat(path, path.read_text())}
    for number, labels in enumerate(truth, start=SOURCE.start):
        if not labels.any():
            assert f"{number:05d}.png" not in pictures
            continue
        picture = pictures[f"{number:05d}.png"]
        assert picture.size == (HEIGHT, WIDTH)
        assert [each.group for each in picture.shapes] == [str(id_) for id_ in ids_of(labels)]
        for each in picture.shapes:
            assert each.name == NAMES[int(str(each.group))]
            mask = each.draw((HEIGHT, WIDTH))
            assert (mask == (labels == int(str(each.group)))).all()


def test_labelme_has_the_same_masks_ids_and_names(truth: list[Labels], tmp_path: Path) -> None:
    folder = write("labelme", tmp_path, truth)
    for number, labels in enumerate(truth, start=SOURCE.start):
        path = folder / f"{number:05d}.json"
        (picture,) = read_labelme(path, path.read_text())
        assert (picture.name, picture.size) == (f"{number:05d}.png", (HEIGHT, WIDTH))
        assert [each.group for each in picture.shapes] == ids_of(labels)
        for each in picture.shapes:
            assert each.name == NAMES[int(str(each.group))]
            mask = each.draw((HEIGHT, WIDTH))
            assert (mask == (labels == each.group)).all()


def test_yolo_has_the_outlines_of_all_parts_and_the_names(
    truth: list[Labels], tmp_path: Path
) -> None:
    folder = write("yolo", tmp_path, truth)
    names = (folder / "data.yaml").read_text().split("names:")[1]
    assert names.split("\n")[1:3] == ['  0: "horse"', f"  1: {json.dumps(NAMES[7])}"]
    for number, labels in enumerate(truth, start=SOURCE.start):
        drawn = np.zeros((2, HEIGHT, WIDTH), np.uint8)
        for line in (folder / "labels" / f"{number:05d}.txt").read_text().splitlines():
            kind_, *shares = line.split()
            points = np.array(shares, float).reshape(-1, 2) * (WIDTH, HEIGHT)
            assert len(points) >= 3
            cv2.fillPoly(drawn[int(kind_)], [points.astype(np.int32)], 1)
        for kind, ids in enumerate(((1, 9), (7,))):
            expected = np.isin(labels, ids).astype(np.uint8)
            outside, _ = cv2.findContours(expected, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.fillPoly(expected, outside, 1)  # outlines have no holes
            assert (drawn[kind] == expected).all()


def test_yolo_has_names_that_yaml_reads_as_they_are(truth: list[Labels], tmp_path: Path) -> None:
    source = replace(SOURCE, settings=Settings({1: "Pferd \U0001f40e", 7: 'a: "b" #c'}))
    text = (write("yolo", tmp_path, truth, source) / "data.yaml").read_text(encoding="utf-8")
    # YAML, unlike JSON, has no pairs of surrogates
    assert '  0: "Pferd \U0001f40e"\n  1: "a: \\"b\\" #c"\n' in text


def test_per_object_has_black_and_white_masks(truth: list[Labels], tmp_path: Path) -> None:
    folder = write("per-object", tmp_path, truth)
    assert sorted(path.name for path in folder.iterdir()) == ["1", "7", "9"]
    for number, labels in enumerate(truth, start=SOURCE.start):
        for id_ in (1, 7, 9):
            with Image.open(folder / str(id_) / f"{number:05d}.png") as picture:
                assert (np.asarray(picture) == 255 * (labels == id_)).all()


def test_a_table_has_a_line_for_each_object_that_a_frame_shows(
    truth: list[Labels], tmp_path: Path
) -> None:
    rows = list(csv.DictReader(write("table", tmp_path, truth).read_text().splitlines()))
    shown = [(n, id_) for n, labels in enumerate(truth, start=3) for id_ in ids_of(labels)]
    assert [(int(row["frame"]), int(row["object"])) for row in rows] == shown
    for row in rows:
        mask = truth[int(row["frame"]) - 3] == int(row["object"])
        rows_of, columns_of = np.nonzero(mask)
        assert int(row["area"]) == mask.sum()
        assert int(row["left"]) == columns_of.min()
        assert int(row["top"]) == rows_of.min()
        assert int(row["width"]) == np.ptp(columns_of) + 1
        assert int(row["height"]) == np.ptp(rows_of) + 1
        assert float(row["centroid_x"]) == pytest.approx(columns_of.mean(), abs=0.01)
        assert float(row["centroid_y"]) == pytest.approx(rows_of.mean(), abs=0.01)
        assert row["label"] == NAMES[int(row["object"])]
        assert float(row["seconds"]) == pytest.approx(int(row["frame"]) / 25)


def test_mot_has_the_boxes_in_ten_columns_from_frame_1_on(
    truth: list[Labels], tmp_path: Path
) -> None:
    lines = np.loadtxt(write("mot", tmp_path, truth), delimiter=",")
    assert lines.shape[1] == 10
    for frame, id_, left, top, width, height, *_ in lines:
        rows, columns = np.nonzero(truth[int(frame) - 1] == int(id_))
        assert (left, top) == (columns.min() + 1, rows.min() + 1)
        assert (width, height) == (np.ptp(columns) + 1, np.ptp(rows) + 1)


@pytest.mark.parametrize("name", ["coco", "ytvis", "cvat", "labelme", "yolo", "table", "mot"])
def test_a_film_without_visible_objects_is_valid(name: str, tmp_path: Path) -> None:
    path = write(name, tmp_path, [np.zeros((HEIGHT, WIDTH), np.uint8)] * 2)
    if path.suffix == ".json":
        assert len(json.loads(path.read_text())["annotations"]) in (0, 3)
    if name == "cvat":
        assert read_cvat(path, path.read_text()) == []


def test_frames_of_a_folder_keep_the_names_of_their_files(
    truth: list[Labels], tmp_path: Path
) -> None:
    files = {frame_name(n): f"{n:05d}.jpg" for n in range(100)}
    source = Source(Path("frames"), INFO, objects=(1, 7, 9), files=files)
    document = json.loads(write("coco", tmp_path, truth, source).read_text())
    assert document["images"][2]["file_name"] == "00002.jpg"
