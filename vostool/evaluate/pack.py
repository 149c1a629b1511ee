"""The zip that a benchmark's server accepts."""

import zipfile
from pathlib import Path

from vostool.errors import InputError
from vostool.evaluate.protocols import YOUTUBE_VOS, Benchmark, BenchmarkClip
from vostool.evaluate.scoring import read_prediction
from vostool.files import atomic_write
from vostool.files.claims import refuse_to_replace
from vostool.media.folder import list_images
from vostool.media.frame import frame_name
from vostool.media.masks import read_values
from vostool.media.video import probe, read_frames


def pack(benchmark: Benchmark, predictions: Path, path: Path) -> None:
    """Write the masks in `predictions`/<clip> as the server expects them, atomically.

    YouTube-VOS: Annotations/<clip>/<frame>.png for the frames in meta.json. DAVIS:
    <clip>/<frame>.png for every frame. Every mask is read and checked.
    Raises InputError if a mask is missing, MaskError if one cannot be used, OutputError.
    """
    refuse_to_replace([path], "choose another file")
    top = Path("Annotations" if benchmark.name == YOUTUBE_VOS else "")
    files = {
        file: top / clip.name / file.name
        for clip in benchmark.clips
        for file in check_masks(clip, predictions / clip.name)
    }
    with atomic_write(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for file, name in files.items():
            archive.write(file, name)


def check_masks(clip: BenchmarkClip, folder: Path) -> list[Path]:
    """Return the masks of a clip that the server expects, each read; raises as `pack` does."""
    masks = [folder / f"{frame}.png" for frame in frame_names(clip)]
    for mask in masks:
        if not mask.is_file():
            raise InputError(f"{mask}: no such mask; the server expects it")
    given = next(iter(clip.given.values()))
    shape = read_values(given.path).shape
    for mask in masks:
        read_prediction(mask, shape, clip)
    return masks


def frame_names(clip: BenchmarkClip) -> list[str]:
    """Return the frames that the server expects; raises InputError if they are unknown."""
    if clip.wanted:
        return list(clip.wanted)
    if clip.source is None:
        raise InputError(f"{clip.name}: expected its video or frames, which the server counts")
    if clip.source.is_dir():
        return [image.stem for image in list_images(clip.source)]
    frames = probe(clip.source).frames or sum(1 for _ in read_frames(clip.source))
    return [frame_name(number) for number in range(frames)]
