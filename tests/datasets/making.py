"""Small data sets with known content, on disk and in memory."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.conftest import ORANGE, TINY, Picture, draw, film
from vostool.datasets.sequences import InMemory
from vostool.media.masks import write_mask
from vostool.train.recipe import Recipe


def write_video_clip(root: Path, name: str, count: int = 6) -> None:
    """Add a clip as a video, with a mask for each frame."""
    (root / "videos").mkdir(parents=True, exist_ok=True)
    masks = root / "Annotations" / name
    masks.mkdir(parents=True)
    film(root / "videos" / f"{name}.mp4", masks / "00000.png", count)
    for index in range(1, count):
        write_mask(masks / f"{index:05d}.png", draw(index)[1])


def write_frames_clip(
    root: Path, name: str, numbers: list[int], masked: list[int], size: str = ""
) -> None:
    """Add a clip as a folder of frames, numbered as given, some of them with masks."""
    frames, masks = (root / kind / size / name for kind in ("JPEGImages", "Annotations"))
    for folder in (frames, masks):
        folder.mkdir(parents=True)
    for place, number in enumerate(numbers):
        rgb, labels = draw(place)
        Image.fromarray(rgb).save(frames / f"{number:05d}.jpg", quality=95)
        if number in masked:
            write_mask(masks / f"{number:05d}.png", labels)


def write_photograph(root: Path, stem: str, kind: str = ".jpg", place: int = 0) -> None:
    """Add a photograph with its mask."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    rgb, labels = draw(place)
    Image.fromarray(rgb).save(root / "images" / f"{stem}{kind}", quality=95)
    write_mask(root / "masks" / f"{stem}.png", labels)


def write_coco(root: Path) -> None:
    """Add a picture of two boxes, one small box and a crowd, and one with nothing, as in COCO."""
    (root / "some").mkdir(parents=True)
    for number in (7, 9):
        Image.fromarray(draw(0)[0]).save(root / "some" / f"{number:012d}.jpg", quality=95)
    boxes = [
        (1, 0, 4, 4, 36, 40),
        (2, 0, 20, 10, 30, 40),
        (3, 0, 60, 0, 4, 4),
        (4, 1, 0, 0, 64, 48),
    ]
    content = {
        "images": [
            {"id": n, "file_name": f"{n:012d}.jpg", "height": 48, "width": 64} for n in (7, 9)
        ],
        "categories": [{"id": 1, "name": "box"}],
        "annotations": [
            {
                "id": id_,
                "image_id": 7,
                "category_id": 1,
                "iscrowd": crowd,
                "area": width * height,
                "bbox": [left, top, width, height],
                "segmentation": [box_outline(left, top, width, height)],
            }
            for id_, crowd, left, top, width, height in boxes
        ],
    }
    (root / "some.json").write_text(json.dumps(content))


def box_outline(left: int, top: int, width: int, height: int) -> list[int]:
    """Return the corners of a box, as COCO writes a polygon."""
    right, bottom = left + width, top + height
    return [left, top, right, top, right, bottom, left, bottom]


def recipe_of(root: Path = Path(), **changes: Any) -> Recipe:
    """Return a recipe of four steps on tiny clips."""
    entries: dict[str, Any] = {
        "network": TINY,
        "data_root": root,
        "data": [
            {"layout": "clips", "root": "clips"},
            {"layout": "photographs", "root": "photographs"},
        ],
        "data_short_side": 48,
        "phases": [{"steps": 3, "size": (32, 48)}, {"steps": 1, "size": (32, 48), "cycle": True}],
        "frames": 2,
        "objects": 1,
        "multi_object_share": 0,
        "warmup": 1,
        "precision": "fp32",
        "log_every": 1,
        "save_every": 2,
        "validate_size": 32,
        "learning_rate": 1e-3,
        "freeze": ["query_body", "memory_body"],
    }
    return Recipe.model_validate(entries | changes)


def write_library(root: Path) -> Path:
    """Add two clips as videos, one as frames, and two photographs; returns the folder."""
    write_video_clip(root / "clips", "one")
    write_video_clip(root / "clips", "two")
    write_frames_clip(root / "frames", "three", list(range(5)), [0, 2, 4])
    write_photograph(root / "photographs", "a")
    write_photograph(root / "photographs", "b", place=3)
    return root


def sequence(*drawn: tuple[Picture, Picture], name: str = "drawn") -> InMemory:
    """Return frames with their labels, all of them known, as a sequence."""
    images = torch.stack([torch.from_numpy(rgb).permute(2, 0, 1) for rgb, _ in drawn])
    labels = torch.from_numpy(np.stack([labels for _, labels in drawn]))
    return InMemory(name, images, labels, tuple(range(len(drawn))))


def square_clip(count: int = 8) -> InMemory:
    """Return the scene of conftest as a sequence."""
    return sequence(*(draw(index) for index in range(count)), name="square")


def photograph(colour: tuple[int, int, int] = ORANGE, name: str = "photograph") -> InMemory:
    """Return a photograph of a square of some colour on black."""
    rgb, labels = np.zeros((64, 80, 3), np.uint8), np.zeros((64, 80), np.uint8)
    rgb[16:48, 24:56], labels[16:48, 24:56] = colour, 1
    return sequence((rgb, labels), name=name)
