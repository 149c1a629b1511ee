"""The benchmarks: which clips, which masks are given, what is scored, what a server expects.

davis16, davis17   the first frame's mask is given; scored are all frames but the first
                   and the last. DAVIS-2016 masks are 0 and 255, one object.
youtube-vos        every object is given on its first frame, by meta.json, and scored on
                   the annotated frames after it, where the truth is available
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from vostool.datasets.layout import check_name, clip_names, clip_source, masks_root
from vostool.errors import InputError, MaskError, UsageError
from vostool.files import read_text
from vostool.files.documents import problem
from vostool.media.folder import list_files, list_images
from vostool.media.frame import frame_name
from vostool.media.labels import MAX_OBJECTS, VOID
from vostool.media.masks import read_values

DAVIS_16 = "davis16"
DAVIS_17 = "davis17"
YOUTUBE_VOS = "youtube-vos"


@dataclass(frozen=True)
class Given:
    """A given mask, and which of its objects enter on its frame."""

    path: Path
    ids: tuple[int, ...]


@dataclass(frozen=True)
class BenchmarkClip:
    """A clip of a benchmark. Frames are known by the names of their files."""

    name: str
    source: Path | None  # its video or folder of frames; None if only masks are available
    given: dict[str, Given]
    truth: dict[str, Path]  # of the frames that are scored, in order
    objects: dict[int, str]  # the id of each object, and the first frame it is scored on
    wanted: tuple[str, ...] | None = None  # frames that the server expects; None: all
    groups: dict[int, str] | None = None  # "seen" or "unseen", by id
    white: bool = False  # one object, 255 in every mask
    masks: int | None = None  # the number of frames, where every one has its truth
    hidden: bool = False  # its truth is kept by a server

    @property
    def ids(self) -> tuple[int, ...]:
        """All ids that a prediction may hold."""
        return tuple(sorted({id_ for given in self.given.values() for id_ in given.ids}))

    @property
    def unscored(self) -> tuple[int, ...]:
        """The objects that cannot be scored although the truth is available."""
        return () if self.hidden else tuple(id_ for id_ in self.ids if id_ not in self.objects)


@dataclass(frozen=True)
class Benchmark:
    """Clips, and the protocol by which they are scored."""

    name: str
    root: Path  # of the clips: of YouTube-VOS the folder of the split
    split: str
    clips: tuple[BenchmarkClip, ...]

    @property
    def scored(self) -> bool:
        """Whether the truth of any frame is available."""
        return any(clip.objects for clip in self.clips)

    @property
    def warnings(self) -> list[str]:
        """A message for each clip with objects that cannot be scored."""
        return [
            f"{clip.name}: not scored: object {', '.join(map(str, clip.unscored))}, "
            "without an annotated frame after the first"
            for clip in self.clips
            if clip.unscored
        ]


def open_benchmark(name: str, root: Path, split: str, train_meta: Path | None = None) -> Benchmark:
    """Return the clips of a split: its name, or a file that lists clips.

    `train_meta` is the meta.json of YouTube-VOS's training set, which defines the seen
    categories. Raises InputError, UsageError or MaskError.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    if name == YOUTUBE_VOS:
        root = root / split if (root / split).is_dir() else root
        clips = tuple(youtube_clips(root, train_meta))
    else:
        names = clip_names(root, find_split(name, root, split))
        clips = tuple(davis_clip(root, clip, white=name == DAVIS_16) for clip in names)
    hidden = [clip.name for clip in clips if clip.hidden]
    if hidden and len(hidden) < len(clips):
        raise InputError(
            f"{root}: has the truth of some clips and not of {len(hidden)} others, "
            f"such as {hidden[0]}"
        )
    return Benchmark(name, root, split, clips)


def find_split(name: str, root: Path, split: str) -> Path:
    """Return the file that lists the clips of a DAVIS split."""
    year = {DAVIS_16: "2016", DAVIS_17: "2017"}[name]
    folder = root / "ImageSets"
    # the benchmark's own lists come before a file of the same name
    candidates = (
        folder / year / f"{split}.txt",
        folder / "480p" / f"{split}.txt",
        folder / f"{split}.txt",
        Path(split),
    )
    for path in candidates:
        if path.is_file():
            return path.resolve()
    raise InputError(f"{root}: no list of the split {split!r}: expected {candidates[0]}")


def davis_clip(root: Path, name: str, white: bool) -> BenchmarkClip:
    """Return a clip of DAVIS; raises InputError if it has no mask, or is too short to score."""
    folder = masks_root(root) / name
    masks = list_files(folder, (".png",)) if folder.is_dir() else []
    if not masks:
        raise InputError(f"{folder}: expected masks such as 00000.png, found none")
    # as in the official tool: objects are 1 to the highest of the first frame
    ids = (1,) if white else tuple(range(1, highest(masks[0]) + 1))
    if not ids:
        raise MaskError(f"{masks[0]}: expected objects by id, found only 0 and 255 (davis16?)")
    scored = masks[1:-1]
    if len(masks) == 2:
        raise InputError(
            f"{folder}: too short to score: found 2 masks, of which neither the first nor the last "
            f"counts; take the clip {name} out of the list"
        )
    source = source_of(root, name)
    check_frames(masks, source)
    return BenchmarkClip(
        name=name,
        source=source,
        given={masks[0].stem: Given(masks[0], ids)},
        truth={path.stem: path for path in scored},
        objects={id_: scored[0].stem for id_ in ids if scored},
        white=white,
        masks=None if len(masks) == 1 else len(masks),
        hidden=len(masks) == 1,
    )


def check_frames(masks: list[Path], source: Path | None) -> None:
    """Raise InputError unless a clip has only its first mask, or one for every frame."""
    if len(masks) == 1:
        return
    if source is not None and source.is_dir():
        frames = [image.stem for image in list_images(source)]
    else:  # of a video every frame has a number
        frames = [frame_name(number) for number in range(len(masks))]
    found = {mask.stem for mask in masks}
    for frame in frames:
        if frame not in found:
            raise InputError(f"{masks[0].with_stem(frame)}: no such mask; the frame is there")
    for mask in masks:
        if mask.stem not in frames:
            raise InputError(f"{mask}: {source or mask.parent} has no frame of that name")


def highest(mask: Path) -> int:
    """Return the highest object of a mask, apart from void."""
    values = read_values(mask)
    return int(values[values != VOID].max(initial=0))


def source_of(root: Path, name: str) -> Path | None:
    """Return the frames of a clip, if they exist."""
    try:
        return clip_source(root, name)
    except InputError:
        return None


class MetaObject(BaseModel):
    """An object in a meta.json of YouTube-VOS: what it is, and where it is annotated."""

    category: str | None = None
    frames: list[Annotated[str, Field(pattern=r"^[^/\\]+$")]] = Field(default_factory=list)


class MetaVideo(BaseModel):
    """A video in a meta.json."""

    objects: dict[Annotated[int, Field(ge=1, le=MAX_OBJECTS)], MetaObject] = Field(min_length=1)


class Meta(BaseModel):
    """A meta.json of YouTube-VOS."""

    videos: dict[str, MetaVideo] = Field(min_length=1)

    @property
    def categories(self) -> set[str]:
        """The categories of all objects."""
        objects = (each for video in self.videos.values() for each in video.objects.values())
        return {each.category for each in objects if each.category is not None}


def read_meta(path: Path) -> Meta:
    """Return a meta.json of YouTube-VOS; raises InputError."""
    try:
        return Meta.model_validate_json(read_text(path, "a meta.json of YouTube-VOS"))
    except ValidationError as error:
        raise InputError(f"{path}: not a meta.json of YouTube-VOS: {problem(error)}") from error


def youtube_clips(folder: Path, train_meta: Path | None) -> Iterator[BenchmarkClip]:
    """Yield the clips of a folder of YouTube-VOS: "valid", "train", or a link to one."""
    path = folder / "meta.json"
    seen = None if train_meta is None else read_meta(train_meta).categories
    # predict on every frame where they are available; the server expects some of them
    whole = folder.with_name(f"{folder.name}_all_frames")
    frames = whole if whole.is_dir() else folder
    for name, video in read_meta(path).videos.items():
        check_name(name, path)
        for id_, each in video.objects.items():
            if not each.frames:
                raise InputError(f"{path}: {name}: object {id_}: expected frames, found none")
        groups = None if seen is None else groups_of(video, seen, f"{path}: {name}")
        yield youtube_clip(folder, frames, name, video.objects, groups)


def groups_of(video: MetaVideo, seen: set[str], where: str) -> dict[int, str]:
    """Return "seen" or "unseen" for each object, by its category; raises InputError."""
    for id_, each in video.objects.items():
        if each.category is None:
            raise InputError(f"{where}: object {id_}: expected a category, found none")
    return {
        id_: "seen" if each.category in seen else "unseen" for id_, each in video.objects.items()
    }


def youtube_clip(
    root: Path,
    frames: Path,
    name: str,
    entries: dict[int, MetaObject],
    groups: dict[int, str] | None,
) -> BenchmarkClip:
    """Return a clip of YouTube-VOS; raises InputError if a mask is missing."""
    folder = root / "Annotations" / name
    files = list_files(folder, (".png",)) if folder.is_dir() else []
    masks = {path.stem: path for path in files}
    enter: dict[str, list[int]] = {}
    for id_, entry in sorted(entries.items()):
        enter.setdefault(entry.frames[0], []).append(id_)
    wanted = sorted({frame for entry in entries.values() for frame in entry.frames})
    for frame in enter:
        if frame not in masks:
            raise InputError(f"{folder / f'{frame}.png'}: no such mask, meta.json names it")
    first = min(enter)
    missing = [frame for frame in wanted if frame not in masks]
    # masks of the validation set show new objects alone, and there are no others
    hidden = bool(missing) and set(masks) == set(enter)
    if missing and not hidden:
        raise InputError(f"{folder / f'{missing[0]}.png'}: no such mask, meta.json names it")
    truth = {} if hidden else {frame: path for frame, path in masks.items() if frame > first}
    objects: dict[int, str] = {}
    for id_, entry in sorted(entries.items()):
        after = [frame for frame in truth if frame > entry.frames[0]]
        objects |= {id_: after[0]} if after else {}
    given = {frame: Given(masks[frame], tuple(ids)) for frame, ids in sorted(enter.items())}
    source = source_of(frames, name)
    return BenchmarkClip(name, source, given, truth, objects, tuple(wanted), groups, hidden=hidden)


def check_train_meta(name: str, train_meta: Path | None) -> None:
    """Raise UsageError for --train-meta with another benchmark than YouTube-VOS."""
    if train_meta is not None and name != YOUTUBE_VOS:
        raise UsageError(f"--train-meta: is for youtube-vos, not for {name}")
