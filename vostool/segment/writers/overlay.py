"""The video with the objects tinted."""

from pathlib import Path

from vostool.files import remove
from vostool.inference.soft import SegmentedFrame
from vostool.media.overlay import paint
from vostool.media.writer import VideoWriter
from vostool.segment.writers.interface import Writer


class Overlay(Writer):
    """overlay.mp4, with the sound of the video; overlay.part.mp4 as long as it is not whole."""

    help = "the video with the objects tinted, and its sound"
    file = "overlay.mp4"
    _video: VideoWriter | None = None
    _whole = False

    @property
    def part(self) -> Path:
        """The film as long as it is not whole."""
        return self.path.with_name("overlay.part.mp4")

    @property
    def written(self) -> Path:
        """The film, or its part."""
        return self.path if self._whole else self.part

    @property
    def warnings(self) -> list[str]:
        """What had to be left out of it."""
        return self._video.warnings if self._video is not None else []

    def replaced(self) -> list[Path]:
        """Return the film, and the parts of one."""
        being_named = self.path.with_name(f"{self.path.name}.part")
        return [path for path in (self.path, self.part, being_named) if path.exists()]

    def begin(self) -> None:
        """Open the film."""
        info = self.source.info
        self._video = VideoWriter(
            self.path,
            width=info.width,
            height=info.height,
            rate=info.rate,
            pixel_aspect=info.pixel_aspect,
            audio_from=self.source.video if info.has_audio else None,
        )

    def resume(self, frames: int) -> int:
        """Start again: the encoded pictures depend on those before.

        The older film goes at once: it need not show the masks that it would lie beside.
        """
        for path in self.replaced():
            remove(path)
        self.begin()
        return 0

    def add(self, segmented: SegmentedFrame) -> None:
        """Show a frame at its own time."""
        frame = segmented.frame
        self._opened.write(paint(frame.rgb, segmented.labels), frame.time)

    def finish(self) -> None:
        """Close the film and give it its name."""
        self._opened.__exit__(None, None, None)
        self._whole = True

    def stop(self, problem: BaseException) -> None:
        """Close the film, so that it plays, under the name of the part."""
        if self._video is not None:
            self._video.__exit__(type(problem), problem, problem.__traceback__)

    @property
    def _opened(self) -> VideoWriter:
        if self._video is None:
            raise RuntimeError("an overlay is begun before it is added to")
        return self._video
