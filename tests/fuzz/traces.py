"""What a command left behind: the files of its output, which must be whole, and all around it."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image, ImageSequence
from safetensors.torch import load

from vostool.media.video import read_frames

HERE = "above/here"  # where a command runs: what leaves its folder is noticed above
OUTPUT = "out"


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return the content of all files, and the names of all folders, but those of the output."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if f"{name}/".startswith(f"{HERE}/{OUTPUT}/"):
            continue
        found[name] = path.read_bytes() if path.is_file() else b""
    return found


def changed(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    names = before.keys() | after.keys()
    return sorted(name for name in names if before.get(name) != after.get(name))


def load_every_picture(path: Path) -> None:
    """Read an animated picture to its end."""
    with Image.open(path) as picture:
        for each in ImageSequence.Iterator(picture):
            each.load()


READERS: dict[str, Callable[[Path], object]] = {
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".png": lambda path: Image.open(path).load(),
    ".jpg": lambda path: Image.open(path).load(),
    **dict.fromkeys((".mp4", ".mov", ".mkv", ".webm"), lambda path: list(read_frames(path))),
    **dict.fromkeys((".gif", ".webp"), load_every_picture),
    ".xml": ElementTree.parse,
    **dict.fromkeys((".txt", ".yaml"), lambda path: path.read_text(encoding="utf-8")),
    ".csv": lambda path: path.read_text(encoding="utf-8"),
    ".html": lambda path: path.read_text(encoding="utf-8").rindex("</html>"),
    ".npy": np.load,
    ".safetensors": lambda path: load(path.read_bytes()),
    ".pt": lambda path: torch.load(path, weights_only=True),
    ".zip": lambda path: zipfile.ZipFile(path).testzip(),
    ".jsonl": lambda path: [json.loads(line) for line in path.read_text().splitlines()],
}


def broken(folder: Path, given: dict[str, bytes], code: int) -> list[str]:
    """Return the files of an output that are not whole, but for those that were so before."""
    found = []
    for name, content in snapshot(folder).items():
        path = folder / name
        if given.get(name) == content or path.is_dir() or "tensorboard" in name:
            continue
        if path.name.startswith("."):
            found.append(f"left in the output: {name}")
        if "part" in path.name:
            if code == 0:
                found.append(f"left in the output: {name}")
            continue
        try:
            READERS[path.suffix](path)
        except Exception as error:
            found.append(f"not whole: {name}: {error!r}")
    return found
