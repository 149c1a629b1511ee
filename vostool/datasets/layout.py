"""Where a data set of clips keeps its videos, frames and masks; never imports torch.

ROOT/videos/<clip>.mp4, or ROOT/JPEGImages/[480p/]<clip>/<frame>.jpg, beside
ROOT/Annotations/[480p/]<clip>/<frame>.png
"""

from pathlib import Path

from vostool.errors import InputError
from vostool.files import read_text


def clip_names(root: Path, split: Path | None = None) -> list[str]:
    """Return the names of a set's clips: those listed in a file, or all that have masks.

    Raises InputError if there is none.
    """
    if split is not None:
        if not (root / split).is_file():
            raise InputError(f"{root / split}: no such list of clips")
        lines = read_text(root / split, "a list of clips").splitlines()
        # DAVIS-2016 lists pairs of files, DAVIS-2017 plain names
        files = [line.split()[0] for line in lines if line.strip()]
        names = [Path(file).parent.name if "/" in file else file for file in files]
    else:
        folders = [path for path in masks_root(root).iterdir() if path.is_dir()]
        names = sorted(path.name for path in folders if not path.name.startswith("."))
    if not names:
        raise InputError(f"{root}: holds no clip")
    for name in names:
        check_name(name, root if split is None else root / split)
    return list(dict.fromkeys(names))


def check_name(name: str, where: Path) -> None:
    """Raise InputError unless a clip's name is that of a folder, and of no other place."""
    if name in ("", ".", "..") or Path(name).name != name or "\\" in name or "\0" in name:
        raise InputError(f"{where}: expected names of clips, found {name!r}")


def masks_root(root: Path) -> Path:
    """Return the folder that holds one folder of masks per clip."""
    for folder in (root / "Annotations" / "480p", root / "Annotations"):
        if folder.is_dir():
            return folder
    raise InputError(f"{root}: expected a folder Annotations in it")


def clip_source(root: Path, name: str) -> Path:
    """Return the video file or the folder of frames of a clip."""
    candidates = (
        root / "videos" / f"{name}.mp4",
        root / "JPEGImages" / "480p" / name,
        root / "JPEGImages" / name,
    )
    for path in candidates:
        if path.exists():
            return path
    raise InputError(f"{root}: no video and no folder of frames for the clip {name!r}")
