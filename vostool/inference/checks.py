"""Scores of a run's masks that need no truth, and the frames that they say to look at.

Never imports torch.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from vostool.files.documents import Document

# A mean probability below it is worth a look. On DAVIS-2016 validation, from which it was taken, it
# names one frame in twelve, and of these three in five have a J below 0.7 (tests/bench/judge.py).
LOW = 0.925
MOST = 3  # stretches to look at that are named


class Check(Document):
    """The masks of an object on a frame, judged; all values from 0 to 1, higher is better.

    The score is the cycle's (journal Eq. 2): from this frame alone the network predicts the mask
    that it was given, and the score is how well that overlaps (IoU) with the truth. The confidence
    tells more of how good a mask is, and decides which frames are worth a look.
    """

    frame: int
    object: int
    score: float
    confidence: float  # mean probability of the object's pixels; 0 if it has none
    presence: float  # the highest probability of any pixel: near 0 where the object is not
    area: float  # share of the frame

    @property
    def low(self) -> bool:
        """Whether it is worth a look; so is an object that is nowhere."""
        return self.confidence < LOW


class Stretch(Document):
    """Frames to look at: those of an object from the first to the last one of low confidence."""

    object: int
    first: int
    last: int
    confidence: float  # the lowest one
    seen: bool  # whether the object has a pixel on any of them

    def __str__(self) -> str:
        frames = f"frame {self.first}"
        if self.last > self.first:
            frames = f"frames {self.first} to {self.last}"
        found = f"mean probability {self.confidence:.2f}" if self.seen else "not seen there"
        return f"look at {frames}: object {self.object} ({found})"


class Scores(Document):
    """The checks of an object, frame by frame."""

    frames: list[int]
    score: list[float]
    confidence: list[float]
    presence: list[float]
    area: list[float]


class Checks(Document):
    """The checks of a run: every how many frames, what to look at, and all scores by object."""

    every: int
    look_at: list[Stretch]  # the worst first
    objects: dict[int, Scores]

    @classmethod
    def of(cls, every: int, checks: Sequence[Check]) -> "Checks":
        """Return checks, which are in order of frames, as run.json holds them."""
        return cls(
            every=every,
            look_at=sorted(stretches(checks), key=lambda stretch: stretch.confidence),
            objects={id_: scores_of(own) for id_, own in by_object(checks)},
        )

    def lines(self) -> Iterator[str]:
        """Yield what to say of the worst stretches."""
        yield from map(str, self.look_at[:MOST])
        if (more := len(self.look_at) - MOST) > 0:
            yield f"and at {more} more, see check.csv"


def by_object(checks: Iterable[Check]) -> Iterator[tuple[int, list[Check]]]:
    """Yield each object with its checks, in order of frames."""
    found: dict[int, list[Check]] = {}
    for check in checks:
        found.setdefault(check.object, []).append(check)
    yield from sorted(found.items())


def stretches(checks: Iterable[Check]) -> Iterator[Stretch]:
    """Yield the stretches of each object on which its confidence is low."""
    for id_, own in by_object(checks):
        for low, group in groupby(own, key=lambda check: check.low):
            if low:
                part = list(group)
                yield Stretch(
                    object=id_,
                    first=part[0].frame,
                    last=part[-1].frame,
                    confidence=min(check.confidence for check in part),
                    seen=any(check.area > 0 for check in part),
                )


def scores_of(checks: Sequence[Check]) -> Scores:
    """Return the checks of one object as columns."""
    return Scores(
        frames=[check.frame for check in checks],
        score=[check.score for check in checks],
        confidence=[check.confidence for check in checks],
        presence=[check.presence for check in checks],
        area=[check.area for check in checks],
    )


def as_csv(checks: Iterable[Check]) -> str:
    """Return checks as a table, a line for each frame and object."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Check.model_fields)
    writer.writerows(check.model_dump().values() for check in checks)
    return text.getvalue()
