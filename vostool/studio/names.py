"""The names of a video's frames, and so of their masks."""

from pathlib import Path

from vostool.media.folder import list_images
from vostool.media.frame import frame_name


class FrameNames:
    """The names of frames: numbers, or for a folder of pictures those of the pictures."""

    def __init__(self, video: Path) -> None:
        """Look into a folder of pictures; raises InputError."""
        stems = [path.stem for path in list_images(video)] if video.is_dir() else None
        self.pictures = None if stems is None else tuple(stems)  # None: numbers
        self._numbers = {name: number for number, name in enumerate(stems or ())}

    def of(self, frame: int) -> str:
        """Return the name of a frame."""
        return frame_name(frame) if self.pictures is None else self.pictures[frame]

    def number(self, name: str) -> int | None:
        """Return the frame that a name stands for; None if there is none."""
        if self.pictures is not None:
            return self._numbers.get(name)
        frame = int(name) if name.isascii() and name.isdecimal() else None
        return frame if frame is not None and frame_name(frame) == name else None
