"""A folder of images read as a video: natural order, 25 frames per second.

Every image file directly in the folder counts, in natural order (frame2 before frame10);
hidden files and other kinds of files are passed over.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from vostool.errors import InputError
from vostool.media.frame import Frame, Rgb, VideoInfo

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
)
FOLDER_RATE = Fraction(25)  # images carry no clock; 25 per second is what FFmpeg assumes too


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Return a sort key by which frame2 comes before frame10."""
    parts = re.split(r"(\d+)", path.name)
    # digits sort as numbers and before text; the text breaks ties such as "1" and "01"
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def list_images(folder: Path) -> list[Path]:
    """Return the image files of a folder in natural order.

    Raises InputError if there is none, or if two share a stem (masks could not be told apart).
    """
    try:
        entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed: {error.strerror}") from error
    images = [path for path in entries if path.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise InputError(f"{folder}: expected images ({_kinds()}), found none")
    images.sort(key=natural_key)
    stems: dict[str, Path] = {}
    for image in images:
        twin = stems.setdefault(image.stem, image)
        if twin is not image:
            raise InputError(f"{folder}: {twin.name} and {image.name} are both frame {image.stem}")
    return images


def probe_folder(folder: Path) -> VideoInfo:
    """Return the facts of a folder of images; only its first image is opened."""
    images = list_images(folder)
    rgb = _read_image(images[0])
    with Image.open(images[0]) as picture:
        mode = picture.mode
    return VideoInfo(
        path=folder,
        width=rgb.shape[1],
        height=rgb.shape[0],
        frames=len(images),
        rate=FOLDER_RATE,
        seconds=float(len(images) / FOLDER_RATE),
        rotation=0,
        codec=images[0].suffix.lower().lstrip("."),
        pixel_format=mode,
        pixel_aspect=Fraction(1),
        has_audio=False,
    )


def read_folder(folder: Path, start: int = 0, end: int | None = None) -> Iterator[Frame]:
    """Yield the images from number `start` up to but not including `end`, one at a time.

    The time of an image is its number / 25 seconds. EXIF orientation is applied.
    Raises InputError if an image cannot be read or differs in size from the first.
    """
    images = list_images(folder)
    if start >= len(images):
        raise InputError(f"{folder}: cannot start at frame {start}, it has {len(images)} frames")
    first = _read_image(images[0])
    for index, path in enumerate(images[start:end], start=start):
        rgb = _read_image(path) if index else first
        if rgb.shape != first.shape:
            raise InputError(
                f"{path}: image is {_size(rgb)}, expected {_size(first)} like {images[0].name}"
            )
        yield Frame(index, index / FOLDER_RATE, rgb, path.stem)


def _read_image(path: Path) -> Rgb:
    """Return one image as (H, W, 3), upright; transparency is ignored."""
    try:
        with Image.open(path) as stored:
            upright = ImageOps.exif_transpose(stored)
            if upright.mode.startswith("I"):  # 16 bits a pixel, which convert() would clip
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            return np.array(upright.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as an image: {error}") from error


def _kinds() -> str:
    return " ".join(sorted(suffix.lstrip(".") for suffix in IMAGE_SUFFIXES))


def _size(rgb: Rgb) -> str:
    return f"{rgb.shape[1]}x{rgb.shape[0]}"
