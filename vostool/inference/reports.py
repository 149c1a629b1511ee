"""Parts that the reports of several commands share. Must not import torch."""

from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

from vostool.files.documents import Document
from vostool.media.frame import VideoInfo


class Network(Document):
    """Which network made a result."""

    model: str
    file: str | None  # of the weights; None: a plug-in model's own
    sha256: str | None
    settings: dict[str, Any] | None
    published: str | None = None  # the kind of published weights, if these are some
    licence: str | None = None  # as far as it is known

    @property
    def effective(self) -> dict[str, Any]:
        """What of it affects the masks, JSON-serialisable."""
        return self.model_dump(mode="json", include={"model", "sha256", "settings"})


class Video(Document):
    """A video or a folder of pictures, as `vostool.media.frame.VideoInfo`; fractions as text."""

    path: str
    width: int
    height: int
    frames: int | None
    rate: str | None
    seconds: float | None
    rotation: int
    codec: str
    pixel_format: str
    pixel_aspect: str
    has_audio: bool

    @classmethod
    def of(cls, info: VideoInfo) -> Self:
        """Return the facts about a video as part of a report."""
        texts = (Path, Fraction)
        return cls.model_validate(
            {
                name: str(value) if isinstance(value, texts) else value
                for name, value in asdict(info).items()
            }
        )


class LimitsReached(Document):
    """What bounded the memory: the limits at the end of a run, and how they came to be."""

    size: int
    objects_at_once: int | None
    memory_frames: int | None
    lowered: list[dict[str, int | None]]  # the frames on which memory ran out, and new limits
