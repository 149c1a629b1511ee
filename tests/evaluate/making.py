"""Small benchmarks with known content, and predictions of known quality."""

import json
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.conftest import Picture, draw, film
from tests.datasets.making import write_frames_clip
from vostool.media.masks import write_mask

COUNT = 6


class InlineExecutor:
    """Does in this process what a pool of processes would."""

    def __init__(self, *_: object, **__: object) -> None:
        """Take what a pool takes."""

    def submit(self, work: Callable[..., Any], *arguments: object) -> Future[Any]:
        """Do it at once."""
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def shutdown(self, **_: object) -> None:
        """Nothing is left to do."""


def write_davis16(root: Path, *names: str, count: int = COUNT) -> Path:
    """Write clips of one object as videos, their masks in black and white."""
    for name in names:
        folder = root / "Annotations" / "480p" / name
        folder.mkdir(parents=True)
        (root / "videos").mkdir(exist_ok=True)
        film(root / "videos" / f"{name}.mp4", folder / "00000.png", count)
        for index in range(count):
            write_grey(folder / f"{index:05d}.png", draw(index)[1] * np.uint8(255))
    write_list(root, "2016", names)
    return root


def write_davis17(root: Path, *names: str) -> Path:
    """Write clips as folders of frames, their masks with ids."""
    for name in names:
        numbers = list(range(COUNT))
        write_frames_clip(root, name, numbers, numbers, size="480p")
    write_list(root, "2017", names)
    return root


def write_list(root: Path, year: str, names: tuple[str, ...]) -> None:
    path = root / "ImageSets" / year / "val.txt"
    path.parent.mkdir(parents=True)
    path.write_text("".join(f"{name}\n" for name in names))


def write_grey(path: Path, values: Picture) -> None:
    Image.fromarray(values).save(path)


def write_youtube(root: Path, whole_truth: bool) -> Path:
    """Write a clip "a" with frames 0 to 40 by fives; object 1 from the start, 2 from frame 15."""
    numbers = list(range(0, 45, 5))
    frames, masks = root / "JPEGImages" / "a", root / "Annotations" / "a"
    for folder in (frames, masks):
        folder.mkdir(parents=True)
    for place, number in enumerate(numbers):
        rgb, labels = draw(place, two=True)
        Image.fromarray(rgb).save(frames / f"{number:05d}.jpg", quality=95)
        if whole_truth or number == 0:
            write_mask(masks / f"{number:05d}.png", labels)
        elif number == 15:
            write_mask(masks / f"{number:05d}.png", np.where(labels == 2, labels, np.uint8(0)))
    stems = [f"{number:05d}" for number in numbers]
    objects = {
        "1": {"category": "box", "frames": stems},
        "2": {"category": "sky", "frames": stems[3:]},
    }
    (root / "meta.json").write_text(json.dumps({"videos": {"a": {"objects": objects}}}))
    return root


def predict_truth(root: Path, predictions: Path, worse: int = 0) -> Path:
    """Copy the truth as predictions, moved down by some rows."""
    for folder in sorted((root / "Annotations" / "480p").iterdir()):
        (predictions / folder.name).mkdir(parents=True)
        for path in folder.glob("*.png"):
            values = np.roll(np.asarray(Image.open(path)), worse, axis=0)
            write_grey(predictions / folder.name / path.name, values)
    return predictions
