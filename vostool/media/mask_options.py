"""What is given to --mask: which file is the mask of which frame, and of which object."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

from vostool.errors import MaskError, UsageError
from vostool.files import is_file
from vostool.media.folder import FOLDER_RATE, IMAGE_SUFFIXES, list_files, natural_key
from vostool.media.labels import MAX_OBJECTS
from vostool.media.time_codes import (
    MOST_DIGITS,
    TIME,
    Position,
    TimeCode,
    frame_numbers,
    parse_position,
)

SPEC = re.compile(rf"((?:({TIME}|\d+):)?(?:(\d+)@)?)(.+)", re.DOTALL)

# a mask of several objects, or the masks of single ones by id
MaskFiles: TypeAlias = Path | dict[int, Path]


@dataclass(frozen=True)
class MaskOption:
    """[FRAME:][ID@]PATH: a mask file, for a frame by number or time, of one object."""

    path: Path
    frame: Position | None = None
    id: int | None = None

    @classmethod
    def parse(cls, text: str) -> "MaskOption":
        """Read it from text; raises UsageError for a number that cannot be."""
        frame, id_, path = split_spec(text)
        return cls(Path(path), frame, id_)

    def __str__(self) -> str:
        frame = "" if self.frame is None else f"{self.frame}:"
        return with_prefix(frame + ("" if self.id is None else f"{self.id}@"), self.path)


def split_spec(text: str) -> tuple[Position | None, int | None, str]:
    """Return frame, id and path of a `MaskOption`; raises UsageError for an impossible number."""
    match = SPEC.fullmatch(text)
    if match is None:
        raise UsageError("--mask: expected a file or folder, found an empty name")
    _, frame, id_, path = match.groups()
    return (
        None if frame is None else parse_position("--mask", frame),
        None if id_ is None else _object_id(text, id_),
        path,
    )


def split_prefix(text: str) -> tuple[str, str]:
    """Return what is given to --mask as FRAME:ID@, or as much of it as is there, and its path."""
    match = SPEC.fullmatch(text)
    return ("", text) if match is None else (match[1], match[4])


def with_prefix(prefix: str, path: Path) -> str:
    """Return a path behind FRAME:ID@, as --mask takes it."""
    text = str(path)
    # or it would be read as a number
    return f"{prefix}./{text}" if re.match(r"\d+[:@]", text) else prefix + text


def parse_mask_options(
    specs: Sequence[str],
    start: int = 0,
    frame_names: Sequence[str] | None = None,
    video: Path | None = None,
) -> dict[int, Path]:
    """Return which mask file belongs to which frame, as `parse_object_masks`.

    Raises UsageError where objects have masks of their own.
    """
    masks: dict[int, Path] = {}
    for frame, files in parse_object_masks(specs, start, frame_names, video).items():
        if isinstance(files, dict):
            id_, path = next(iter(files.items()))
            raise UsageError(f"{id_}@{path}: expected one mask of all objects here")
        masks[frame] = files
    return masks


def parse_object_masks(
    specs: Sequence[str],
    start: int = 0,
    frame_names: Sequence[str] | None = None,
    video: Path | None = None,
    rate: Fraction = FOLDER_RATE,
) -> dict[int, MaskFiles]:
    """Return which mask files belong to which frame, in order of frames.

    - "MASK.png" belongs to frame `start`
    - "120:MASK.png" belongs to frame 120, "0:04.8:MASK.png" to the frame of `video` shown then
      (`rate`: of a folder's frames per second)
    - "3@MASK.png", "120:3@MASK.png" shows object 3 alone; several may be of one frame
    - (a file of such a very name needs "./" before it)
    - "FOLDER" gives each of its images to the frame its name ends in: 00120.png to frame 120;
      for a folder of frames (`frame_names` given) to the frame of the same name instead
    - "3@FOLDER" is such a folder of object 3; "FOLDER" may also hold a folder for each object,
      named by its id, or counted from 0 as in SA-V: object 1 is then 000

    Raises UsageError if a frame gets two masks, MaskError if a mask is missing or names no frame,
    InputError if a video cannot be read whose times are needed.
    """
    masks: dict[int, MaskFiles] = {}
    options = [MaskOption.parse(spec) for spec in specs]
    numbers = _numbers(options, video, rate)
    for given in options:
        for option in _files_of(given, frame_names):
            position = start if option.frame is None else option.frame
            frame = numbers[position] if isinstance(position, TimeCode) else position
            before = masks.get(frame)
            if option.id is None and before is None:
                masks[frame] = option.path
            elif option.id is not None and not isinstance(before, Path):
                masks[frame] = _with_object(frame, before or {}, option.id, option.path)
            else:
                first = before if isinstance(before, Path) else next(iter((before or {}).values()))
                raise UsageError(
                    f"frame {frame} has two masks: {first} and {option.path}; name the object of "
                    "each: ID@FILE"
                )
    return dict(sorted(masks.items()))


def _numbers(
    options: Sequence[MaskOption], video: Path | None, rate: Fraction
) -> dict[TimeCode, int]:
    """Return the numbers of the frames that are named by times."""
    codes = {option.frame for option in options if isinstance(option.frame, TimeCode)}
    if codes and video is None:
        raise UsageError(f"--mask {min(map(str, codes))}: expected the number of a frame here")
    return frame_numbers(codes, video, rate) if video else {}


def _with_object(frame: int, masks: dict[int, Path], id_: int, path: Path) -> dict[int, Path]:
    if id_ in masks:
        raise UsageError(f"frame {frame} has two masks of object {id_}: {masks[id_]} and {path}")
    return {**masks, id_: path}


def _files_of(option: MaskOption, frame_names: Sequence[str] | None) -> Iterator[MaskOption]:
    """Yield an option for each file that one names; raises MaskError, UsageError."""
    path = option.path
    if is_file(path):
        yield option
        return
    folder = False
    with suppress(OSError):  # it cannot even be looked at
        folder = path.is_dir()
        if not folder and path.exists():
            raise MaskError(f"{path}: expected a mask file, found a pipe or a device")
    if not folder:
        raise MaskError(f"{path}: no such mask file")
    if option.frame is not None:
        raise UsageError(f"{option}: expected a mask file after the frame number, found a folder")
    if list_files(path, IMAGE_SUFFIXES) or option.id is not None:
        yield from _masks_in(option, frame_names)
        return
    yield from _objects_in(path, frame_names)


def _objects_in(folder: Path, frame_names: Sequence[str] | None) -> Iterator[MaskOption]:
    """Yield the masks of a folder that holds one for each object."""
    folders = sorted(
        (path for path in folder.iterdir() if path.is_dir() and path.name.isdecimal()),
        key=natural_key,
    )
    if not folders:
        raise MaskError(f"{folder}: expected masks such as 00000.png, found none")
    from_zero = any(int(path.name) == 0 for path in folders)
    for path in folders:
        id_ = _object_id(str(path), str(int(path.name) + from_zero))
        yield from _masks_in(MaskOption(path, id=id_), frame_names)


def _masks_in(option: MaskOption, frame_names: Sequence[str] | None) -> Iterator[MaskOption]:
    """Yield the masks of a folder, each with its frame."""
    masks = list_files(option.path, IMAGE_SUFFIXES)
    if not masks:
        raise MaskError(f"{option.path}: expected masks such as 00000.png, found none")
    frames = None if frame_names is None else {name: n for n, name in enumerate(frame_names)}
    for path in masks:
        if frames is None:
            yield replace(option, path=path, frame=_number_in(path))
        elif path.stem in frames:
            yield replace(option, path=path, frame=frames[path.stem])
        else:
            raise MaskError(f"{path}: there is no frame named {path.stem}")


def _number_in(path: Path) -> Position:
    digits = re.search(r"\d+$", path.stem)
    if digits is None:
        raise MaskError(f"{path}: expected a name that ends in a frame number, such as 00120.png")
    return parse_position(str(path), digits[0])


def _object_id(where: str, digits: str) -> int:
    """Return the id of an object; raises UsageError for one that no mask can hold."""
    if len(digits) > MOST_DIGITS or not 1 <= int(digits) <= MAX_OBJECTS:
        raise UsageError(f"--mask {where[:200]}: expected an id from 1 to {MAX_OBJECTS}")
    return int(digits)
