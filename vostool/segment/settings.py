"""How the outputs of `vostool segment` are to be, besides which they are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from vostool.errors import UsageError
from vostool.inference.soft import SegmentedFrame
from vostool.media.film_formats import MP4_CODECS, FilmFormat, mp4
from vostool.media.frame import Rgb
from vostool.media.labels import MAX_OBJECTS
from vostool.media.overlay import PALETTES, paint
from vostool.segment.finish import Finish

OBJECTS, BACKGROUND = "objects", "background"
OPACITY = 0.5


@dataclass(frozen=True)
class Settings:
    """What the writers of outputs go by."""

    names: Mapping[int, str] = field(default_factory=dict)  # of objects, by id
    finish: Finish = field(default_factory=Finish)
    effect_on: str | int = OBJECTS  # or BACKGROUND, or an object's id
    opacity: float = OPACITY  # of what objects are tinted with, 0 to 1
    palette: str = "davis"  # of `PALETTES`
    codec: str = "h264"  # of `MP4_CODECS`
    crf: int | None = None  # None: that of the codec

    def __post_init__(self) -> None:
        """Raise UsageError for a value that is out of range."""
        if not 0 <= self.opacity <= 1:
            raise UsageError(f"opacity: expected 0 to 1, found {self.opacity:g}")
        for name, value, known in (
            ("palette", self.palette, PALETTES),
            ("codec", self.codec, MP4_CODECS),
        ):
            if value not in known:
                raise UsageError(f"{name}: expected {', '.join(known)}; found {value}")
        worst = MP4_CODECS[self.codec].worst
        if self.crf is not None and not 0 <= self.crf <= worst:
            raise UsageError(f"crf: expected 0 to {worst} for {self.codec}, found {self.crf}")

    @property
    def film(self) -> FilmFormat:
        """The format of films without alpha."""
        return mp4(self.codec, self.crf)

    def paint(self, segmented: SegmentedFrame) -> Rgb:
        """Return a frame with its objects tinted."""
        frame, palette = segmented.frame, PALETTES[self.palette]
        return paint(frame.rgb, segmented.labels, self.opacity, palette)

    def name_of(self, id_: int) -> str:
        """Return the name of an object."""
        return self.names.get(id_, f"object {id_}")

    def categories(self, objects: tuple[int, ...]) -> dict[str, int]:
        """Return the names of some objects, each with a number from 1."""
        names = dict.fromkeys(self.name_of(id_) for id_ in objects)
        return {name: number for number, name in enumerate(names, start=1)}


@lru_cache  # the jobs of a batch share theirs
def parse_settings(
    names: str | None,
    finish: str | None,
    effect_on: str | None,
    opacity: float | None,
    palette: str | None,
    codec: str | None,
    crf: int | None,
) -> Settings:
    """Return the settings that are given as text, None: as usual; raises UsageError."""
    return Settings(
        read_names(names or ""),
        Finish.parse(finish or ""),
        read_target(effect_on or OBJECTS),
        OPACITY if opacity is None else opacity,
        palette or "davis",
        codec or "h264",
        crf,
    )


def read_id(text: str, what: str) -> int:
    """Return an object's id; raises UsageError, saying what it is for."""
    if not text.isdecimal() or len(text) > 3 or not 1 <= int(text) <= MAX_OBJECTS:
        raise UsageError(f"{what}: expected an object's id from 1 to {MAX_OBJECTS}, found {text}")
    return int(text)


def read_names(text: str) -> dict[int, str]:
    """Return the names of objects, by id, of such as "1=horse,2=rider"; raises UsageError."""
    names: dict[int, str] = {}
    for part in filter(None, text.split(",")):
        number, equals, name = (each.strip() for each in part.partition("="))
        if not equals or not name or not name.isprintable():
            raise UsageError(f"names: expected such as 1=horse,2=rider, found {part}")
        id_ = read_id(number, "names")
        if id_ in names:
            raise UsageError(f"names: expected one of object {id_}, found {names[id_]} and {name}")
        names[id_] = name
    return names


def read_target(text: str) -> str | int:
    """Return what an effect is for: objects, the background, or an id; raises UsageError."""
    if text in (OBJECTS, BACKGROUND):
        return text
    if not text.isdecimal():
        raise UsageError(
            f"effect on: expected {OBJECTS}, {BACKGROUND} or an object's id, found {text}"
        )
    return read_id(text, "effect on")
