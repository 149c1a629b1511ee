"""The zip that a benchmark's server takes."""

import zipfile
from contextlib import suppress
from pathlib import Path

from vostool.errors import InputError, OutputError
from vostool.evaluate.benchmarks import YOUTUBE_VOS, Benchmark, BenchmarkClip
from vostool.media.folder import list_images


def pack(benchmark: Benchmark, predictions: Path, path: Path) -> None:
    """Write the masks in `predictions`/<clip> as the server wants them; all or nothing.

    YouTube-VOS: Annotations/<clip>/<frame>.png for the frames in meta.json. DAVIS:
    <clip>/<frame>.png for every frame. Raises InputError if a mask is missing, OutputError.
    """
    if path.exists():
        raise OutputError(f"{path}: exists already")
    top = Path("Annotations" if benchmark.name == YOUTUBE_VOS else "")
    files = {
        file: top / clip.name / file.name
        for clip in benchmark.clips
        for file in wanted(clip, predictions / clip.name)
    }
    part = path.with_name(f"{path.name}.part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            for file, name in files.items():
                archive.write(file, name)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error


def wanted(clip: BenchmarkClip, folder: Path) -> list[Path]:
    """Return the masks of a clip that the server wants; raises InputError if one is missing."""
    frames: list[str] = sorted(clip.wanted or ())
    if not frames:
        # of a video only the masks tell how many frames it has
        source = clip.source if clip.source is not None and clip.source.is_dir() else folder
        frames = [image.stem for image in list_images(source)]
    masks = [folder / f"{frame}.png" for frame in frames]
    for mask in masks:
        if not mask.is_file():
            raise InputError(f"{mask}: no such mask, and the server wants it")
    return masks
