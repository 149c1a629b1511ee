"""The frames of a video by number, as JPEG: what the page shows.

One thread decodes the video once, from its beginning, by the reader that every command uses: the
numbers are those of the masks whatever the codec and its times. The pictures lie one after another
in a file without a name, which is gone with the process; in RAM there is only where each begins.
Scene cuts are found in the frames as they pass by, of which a few are held for that.
"""

import io
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryFile

from PIL import Image

from vostool.errors import InputError, OutputError, VostoolError
from vostool.media.frame import Frame, Rgb
from vostool.media.image import decode_jpeg
from vostool.media.scene_cuts import with_scenes
from vostool.media.video import read_frames

LONGEST = 1920  # pixels of the long side of a picture; masks are at the video's own size
QUALITY = 88

log = logging.getLogger(__name__)


class Frames:
    """The frames of a video; `count` is how many have been read so far, `cuts` are those found.

    `changed` is called, in the thread that reads, whenever there are more or reading has ended.
    """

    def __init__(self, video: Path, folder: Path, changed: Callable[[], None]) -> None:
        """Start to read a video, with a file of pictures in a folder; raises OutputError."""
        self.video, self.folder, self._changed = video, folder, changed
        self.ended = False
        self.problem: str | None = None  # why reading broke off, if it did
        self.warnings: list[str] = []  # about damage that was passed over
        self.cuts: list[int] = []  # the first frame of each scene but the first
        self._ends = [0]  # where each picture ends in the file
        self._lock = threading.Lock()
        self._closed = threading.Event()
        try:
            self._file = TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written: {error.strerror}") from error
        self._thread = threading.Thread(target=self._read, name="frames", daemon=True)
        self._thread.start()

    @property
    def count(self) -> int:
        """How many frames have been read."""
        return len(self._ends) - 1

    def jpeg(self, number: int) -> bytes:
        """Return a frame as JPEG; raises InputError if it has not been read."""
        if not 0 <= number < self.count:
            raise InputError(f"frame {number}: expected one of the {self.count} read so far")
        begin, end = self._ends[number], self._ends[number + 1]
        with self._lock:
            self._file.seek(begin)
            return self._file.read(end - begin)

    def rgb(self, number: int, width: int, height: int) -> Rgb:
        """Return a frame at the video's size, (H, W, 3) uint8, as good as JPEG has kept it."""
        return decode_jpeg(self.jpeg(number), width, height)

    def close(self) -> None:
        """Stop reading and remove the pictures."""
        self._closed.set()
        self._thread.join()
        self._file.close()

    def _read(self) -> None:
        try:
            for frame in with_scenes(self._pictured()):
                if frame.begins_scene:
                    self.cuts.append(frame.index)
        except VostoolError as error:
            self.problem = str(error)
        except OSError as error:  # of the file of pictures
            self.problem = f"{self.folder}: cannot be written: {error.strerror}"
        except Exception as error:
            self.problem = f"internal error: {type(error).__name__}: {error}"
            log.exception("reading %s", self.video)
        if not self._closed.is_set():
            self.ended = True
            self._changed()

    def _pictured(self) -> Iterator[Frame]:
        """Yield the frames whose pictures are in the file, until it is closed."""
        for frame in read_frames(self.video, warnings=self.warnings):
            if self._closed.is_set():
                return
            self._add(encode_jpeg(frame.rgb))
            self._changed()
            yield frame

    def _add(self, picture: bytes) -> None:
        with self._lock:
            self._file.seek(self._ends[-1])
            self._file.write(picture)
        self._ends.append(self._ends[-1] + len(picture))


def encode_jpeg(rgb: Rgb) -> bytes:
    """Return a frame as JPEG, scaled down if it is longer than `LONGEST`."""
    image = Image.fromarray(rgb)
    if max(image.size) > LONGEST:
        image.thumbnail((LONGEST, LONGEST), Image.Resampling.BILINEAR, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
