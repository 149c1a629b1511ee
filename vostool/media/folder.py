"""A folder of images read as a video: natural order, 25 frames per second unless told otherwise.

Every image file directly in the folder counts, in natural order (frame2 before frame10);
hidden files and other kinds of files are skipped, with a warning where these are pictures.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from vostool.errors import InputError
from vostool.media.frame import Frame, Rgb, VideoInfo
from vostool.media.image import count_pictures, open_image, read_image, stored_mode

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
    | {".exr", ".dpx"}
)
# pictures too, as people keep them beside each other, of kinds that are not read
OTHER_PICTURES = frozenset(
    {".avif", ".cin", ".gbr", ".hdr", ".heic", ".heif", ".j2k", ".jp2", ".jpe", ".jpx", ".jxl"}
    | {".pcx", ".pfm", ".pic", ".pnm", ".psb", ".psd", ".qoi", ".rla", ".rgbe", ".sgi", ".tga"}
    | {".arw", ".cr2", ".cr3", ".crw", ".dng", ".nef", ".nrw", ".orf", ".raf", ".raw", ".rw2"}
    | {".ai", ".eps", ".pdf", ".svg", ".xcf", ".kra"}
)
FOLDER_RATE = Fraction(25)  # images carry no clock; 25 per second is what FFmpeg assumes too


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Return a sort key by which frame2 comes before frame10."""
    parts = re.split(r"(\d+)", path.name)
    # digits sort as numbers and before text; the text breaks ties such as "1" and "01"
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def list_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Return the files of a folder that have one of some suffixes, in either case, in natural
    order.

    Hidden ones are passed over, such as the ._00000.png that macOS puts beside 00000.png.
    Raises InputError if the folder cannot be listed.
    """
    try:
        entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed: {error.strerror}") from error
    return sorted((p for p in entries if p.suffix.lower() in suffixes), key=natural_key)


def list_images(folder: Path) -> list[Path]:
    """Return the image files of a folder in natural order.

    Raises InputError if there is none, if most of its pictures are of kinds that cannot be
    read, or if two share a stem (their masks would be ambiguous).
    """
    images, others = list_files(folder, IMAGE_SUFFIXES), list_files(folder, OTHER_PICTURES)
    if len(others) > len(images):
        raise InputError(
            f"{folder}: {len(others)} of {len(images) + len(others)} pictures are of kinds that "
            f"cannot be read, first {others[0].name}; convert them ({_kinds()})"
        )
    if not images:
        raise InputError(f"{folder}: expected images ({_kinds()}), found none")
    stems: dict[str, Path] = {}
    for image in images:
        twin = stems.setdefault(image.stem, image)
        if twin is not image:
            raise InputError(f"{folder}: {twin.name} and {image.name} are both frame {image.stem}")
    return images


def folder_warnings(folder: Path) -> list[str]:
    """Return warnings about a folder of frames: of several kinds, or not all read.

    Only the first image is opened to see whether it holds several pictures.
    Raises InputError as `list_images` does.
    """
    found = []
    images, others = list_images(folder), list_files(folder, OTHER_PICTURES)
    if others:
        found.append(
            f"{folder}: {len(others)} pictures are passed over, as their kinds cannot be read: "
            f"{_names(others)}"
        )
    if (count := _pictures_in(images[0])) > 1:
        found.append(
            f"{images[0]}: holds {count} pictures, the first is taken, so of every frame; give an "
            "animated picture as the video instead of its folder"
        )
    kinds = Counter(_kind(path) for path in images)
    if len(kinds) > 1:
        most = kinds.most_common(1)[0][0]
        odd = [path for path in images if _kind(path) != most]
        found.append(
            f"{folder}: frames are of several kinds; beside {kinds[most]} {most} files, these are "
            f"taken for frames too: {_names(odd)}"
        )
    return found


def probe_folder(folder: Path, rate: Fraction = FOLDER_RATE) -> VideoInfo:
    """Return the facts of a folder of images; only its first image is opened."""
    images = list_images(folder)
    rgb = read_image(images[0])
    return VideoInfo(
        path=folder,
        width=rgb.shape[1],
        height=rgb.shape[0],
        frames=len(images),
        rate=rate,
        seconds=float(len(images) / rate),
        rotation=0,
        codec=images[0].suffix.lower().lstrip("."),
        pixel_format=stored_mode(images[0]),
        pixel_aspect=Fraction(1),
        has_audio=False,
    )


def read_folder(
    folder: Path,
    start: int = 0,
    end: int | None = None,
    backward: bool = False,
    rate: Fraction = FOLDER_RATE,
    stride: int = 1,
) -> Iterator[Frame]:
    """Yield the images from number `start` up to but not including `end`, one at a time.

    Backward they come from the last to the first; with a `stride` N only every Nth is read. The
    time of an image is its number / `rate` seconds. EXIF orientation is applied.
    Raises InputError if an image cannot be read or differs in size from the first.
    """
    images = list_images(folder)
    if start >= len(images):
        raise InputError(f"{folder}: cannot start at frame {start}, it has {len(images)} frames")
    first = read_image(images[0])
    numbers = range(len(images))[start:end:stride]
    for index in reversed(numbers) if backward else numbers:
        path = images[index]
        rgb = read_image(path) if index else first
        if rgb.shape != first.shape:
            raise InputError(
                f"{path}: image is {_size(rgb)}, expected {_size(first)} like {images[0].name}"
            )
        yield Frame(index, index / rate, rgb, path.stem)


def _pictures_in(path: Path) -> int:
    try:
        with open_image(path) as image:
            return count_pictures(image)
    except InputError:  # EXR and DPX; of a damaged one its reader tells
        return 1


def _kind(path: Path) -> str:
    suffix = path.suffix.lower().lstrip(".")
    return {"jpeg": "jpg", "tiff": "tif"}.get(suffix, suffix)


def _names(paths: Sequence[Path], most: int = 3) -> str:
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return ", ".join(path.name for path in paths[:most]) + more


def _kinds() -> str:
    return " ".join(sorted(suffix.lstrip(".") for suffix in IMAGE_SUFFIXES))


def _size(rgb: Rgb) -> str:
    return f"{rgb.shape[1]}x{rgb.shape[0]}"
