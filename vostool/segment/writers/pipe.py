"""The output of `-o -`: masks as a stream for other programs, as long as one reads it."""

from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from vostool.errors import OutputError
from vostool.inference.soft import SegmentedFrame
from vostool.media.folder import FOLDER_RATE
from vostool.segment.writers.interface import Source, Writer


class LabelStream(Writer):
    """YUV4MPEG2 in grey, whose luma is the object's id, 0 the background; 8 bits, full range."""

    help = "masks on stdout, Y4M"
    file = "stdout"

    def __init__(self, folder: Path, source: Source, sink: BinaryIO) -> None:
        """Prepare to write to a stream."""
        super().__init__(folder, source)
        self._sink = sink

    def replaced(self) -> list[Path]:
        """Return nothing: it is no file."""
        return []

    @property
    def folders(self) -> list[Path]:
        """None."""
        return []

    def begin(self) -> None:
        """Write the header."""
        info, rate = self.source.info, self.source.rate or FOLDER_RATE
        words = (
            *("YUV4MPEG2", f"W{info.width}", f"H{info.height}", f"F{ratio(rate)}", "Ip"),
            *(f"A{ratio(info.pixel_aspect)}", "Cmono", "XCOLORRANGE=FULL"),
        )
        self._write(f"{' '.join(words)}\n".encode())

    def resume(self, frames: int) -> int:
        """Begin: what was written is gone."""
        self.begin()
        return 0

    def add(self, segmented: SegmentedFrame) -> None:
        """Write the labels of a frame."""
        self._write(b"FRAME\n", segmented.labels.tobytes())

    def _write(self, *parts: bytes) -> None:
        try:
            for part in parts:
                self._sink.write(part)
            self._sink.flush()  # whoever reads it need not wait for the next frame
        except OSError as error:
            raise OutputError(f"stdout: cannot be written: {error.strerror}") from error

    def finish(self) -> None:
        """Nothing is left to do."""

    def stop(self, problem: BaseException) -> None:
        """Nothing is left to do."""


def ratio(value: Fraction) -> str:
    """Return a ratio as the header has it."""
    return f"{value.numerator}:{value.denominator}"
