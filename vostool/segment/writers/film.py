"""Outputs that are a film: the video with its pictures changed, and its sound."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from vostool.errors import UsageError
from vostool.files import remove
from vostool.inference.soft import SegmentedFrame, SoftMask, SoftMasks
from vostool.media.effects import EFFECTS, apply, effect_of
from vostool.media.film_formats import FilmFormat
from vostool.media.writer import Pixels, VideoWriter
from vostool.segment.settings import BACKGROUND, OBJECTS
from vostool.segment.writers.interface import Writer


class Film(Writer):
    """A film with the sound of the video; "part" is in its name as long as it is not whole."""

    has_sound: ClassVar[bool] = True
    _video: VideoWriter | None = None
    _whole = False

    @property
    def part(self) -> Path:
        """The film as long as it is not whole."""
        return self.path.with_name(f"{self.path.stem}.part{self.path.suffix}")

    @property
    def written(self) -> Path:
        """The film, or its part."""
        return self.path if self._whole else self.part

    @property
    def warnings(self) -> list[str]:
        """What had to be left out of it."""
        info, found = self.source.info, []
        if self.has_sound and info.has_audio and self.source.video is None:
            found.append(f"{info.path}: its sound is left out: it can be read only once")
        return found + (self._video.warnings if self._video is not None else [])

    @property
    def format(self) -> FilmFormat:
        """The format, for films without alpha as the settings say."""
        return self.source.settings.film

    @property
    def size(self) -> tuple[int, int]:
        """The width and height of its pictures."""
        return self.source.info.width, self.source.info.height

    def replaced(self) -> list[Path]:
        """Return the film, and the parts of one."""
        being_named = self.path.with_name(f"{self.path.name}.part")
        return [path for path in (self.path, self.part, being_named) if path.exists()]

    def begin(self) -> None:
        """Open the film."""
        info, (width, height) = self.source.info, self.size
        self._video = VideoWriter(
            self.path,
            width=width,
            height=height,
            rate=self.source.rate,
            pixel_aspect=info.pixel_aspect,
            audio_from=self.source.video if info.has_audio and self.has_sound else None,
            film=self.format,
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
        self._opened.write(self.picture(segmented), segmented.frame.time)

    @abstractmethod
    def picture(self, segmented: SegmentedFrame) -> Pixels:
        """Return what the film shows of a frame."""

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
            raise RuntimeError("a film is begun before it is added to")
        return self._video


class Overlay(Film):
    """overlay.mp4."""

    help = "the video with the objects tinted, and its sound"
    file = "overlay.mp4"

    def picture(self, segmented: SegmentedFrame) -> Pixels:
        """Return a frame with its objects tinted."""
        return self.source.settings.paint(segmented)


class EffectFilm(Film):
    """effect.mp4."""

    help = "the video with an effect on its objects, or on what --effect-on says, and its sound"
    file = "effect.mp4"
    needs_soft = True
    variants: ClassVar[Mapping[str, str]] = {
        "blur": "the video with its objects (--effect-on: or others) blurred",
        "pixelate": "... in blocks",
        "black": "... black",
        "grey": "... without colour",
        "colour:#00ff00": "... in one colour, which is given as #RRGGBB",
    }

    @classmethod
    def check(cls, variant: str) -> None:
        """Raise UsageError for an effect that does not exist."""
        if effect_of(variant) is None:
            expected = f"{', '.join(EFFECTS)} or colour:#RRGGBB"
            raise UsageError(f"expected {expected}; found {variant or 'none'}")

    def picture(self, segmented: SegmentedFrame) -> Pixels:
        """Return a frame with the effect."""
        effect = effect_of(self.variant)
        if effect is None or segmented.soft is None:
            raise ValueError("a frame without its soft masks, or an unknown effect")
        return apply(segmented.frame.rgb, effect, self.weight(segmented, segmented.soft))

    def weight(self, segmented: SegmentedFrame, soft: SoftMasks) -> SoftMask:
        """Return where the effect is (H, W): whole on its target, and fading away around it."""
        target, labels = self.source.settings.effect_on, segmented.labels
        if target == BACKGROUND:
            return np.where(labels == 0, np.float32(1), 1 - soft.of_all())
        if target == OBJECTS:
            return np.where(labels > 0, np.float32(1), soft.of_all())
        return np.where(labels == target, np.float32(1), soft.of(int(target)))
