"""The results of an evaluation: results.json, from which tables, report and comparison are made.

Per object the scores of every frame are kept; means, recall and decay follow from them.
Files hold scores in [0, 1]; what people read holds them in per cent.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from vostool.errors import InputError
from vostool.evaluate.metrics import Statistics, statistics
from vostool.files import read_text
from vostool.files.documents import Document, problem

SCHEMA_VERSION = 1  # of results.json
FILE = "results.json"


class ObjectScores(Document):
    """Region similarity and contour accuracy of one object, frame by frame, in [0, 1]."""

    j: list[float] = Field(min_length=1)
    f: list[float] = Field(min_length=1)
    group: str | None = None  # YouTube-VOS: "seen" or "unseen" in training

    @model_validator(mode="after")
    def check_lengths(self) -> Self:
        """Raise ValueError unless both measures have a score for each frame."""
        if len(self.j) != len(self.f):
            raise ValueError(f"{len(self.j)} scores of J and {len(self.f)} of F")
        return self

    @property
    def j_statistics(self) -> Statistics:
        """Mean, recall and decay of J."""
        return statistics(self.j)

    @property
    def f_statistics(self) -> Statistics:
        """Mean, recall and decay of F."""
        return statistics(self.f)

    @property
    def j_and_f(self) -> float:
        """The mean of J and F over the frames."""
        return (self.j_statistics.mean + self.f_statistics.mean) / 2


class ClipScores(Document):
    """One clip: its scored frames, and its objects by id.

    An object is scored on all of the frames, or, if it enters late, on the last ones.
    """

    name: str
    frames: list[str]
    objects: dict[int, ObjectScores] = Field(min_length=1)

    @model_validator(mode="after")
    def check_frames(self) -> Self:
        """Raise ValueError for an object with more scores than the clip has frames."""
        for id_, scores in self.objects.items():
            if len(scores.j) > len(self.frames):
                raise ValueError(f"object {id_} has {len(scores.j)} scores, the clip fewer frames")
        return self

    @property
    def j_and_f(self) -> float:
        """The mean of J&F over the objects."""
        return sum(scores.j_and_f for scores in self.objects.values()) / len(self.objects)


class Speed(Document):
    """Run times: of the network alone, and from the first frame read to the last written."""

    frames: int
    network_seconds: float
    total_seconds: float
    device: str
    precision: str

    @property
    def network_fps(self) -> float:
        """Frames per second of the network, as papers count them."""
        return self.frames / self.network_seconds if self.network_seconds else 0.0

    @property
    def total_fps(self) -> float:
        """Frames per second from end to end."""
        return self.frames / self.total_seconds if self.total_seconds else 0.0


class Results(Document):
    """All scores of an evaluation, and what is needed to repeat it."""

    schema_version: int = SCHEMA_VERSION
    benchmark: str
    split: str
    root: Path
    predictions: Path  # the folder with one folder of masks per clip
    options: dict[str, Any] = Field(
        default_factory=dict
    )  # of the model; empty for masks made elsewhere
    versions: dict[str, str] = Field(default_factory=dict)
    created: datetime | None = None
    command: str | None = None  # as it was typed
    weights: str | None = None  # the file; None: masks made elsewhere, or a plug-in model's own
    warnings: list[str] = Field(default_factory=list)
    clips: list[ClipScores]
    speed: Speed | None = None  # None for masks made elsewhere
    # by clip, the frames on which it ran out of memory, and the limits from there on
    lowered: dict[str, list[dict[str, int | None]]] = Field(default_factory=dict)

    @property
    def objects(self) -> dict[str, ObjectScores]:
        """All objects, by the name that the official tool gives them."""
        return {
            f"{clip.name}_{id_}": scores
            for clip in self.clips
            for id_, scores in clip.objects.items()
        }


def summary(objects: Iterable[ObjectScores]) -> dict[str, float]:
    """Return the mean of each statistic over objects, in the official tool's columns."""
    several = list(objects)
    j = [scores.j_statistics for scores in several]
    f = [scores.f_statistics for scores in several]

    def mean(values: Iterable[float]) -> float:
        return sum(values) / len(several)

    j_mean, f_mean = mean(each.mean for each in j), mean(each.mean for each in f)
    return {
        "J&F-Mean": (j_mean + f_mean) / 2,
        "J-Mean": j_mean,
        "J-Recall": mean(each.recall for each in j),
        "J-Decay": mean(each.decay for each in j),
        "F-Mean": f_mean,
        "F-Recall": mean(each.recall for each in f),
        "F-Decay": mean(each.decay for each in f),
    }


def by_group(results: Results) -> dict[str, dict[str, float]]:
    """Return a summary for each group of objects; empty if they have none."""
    objects = results.objects.values()
    names = sorted({scores.group for scores in objects if scores.group})
    return {name: summary(each for each in objects if each.group == name) for name in names}


def per_cent(score: float) -> str:
    """Return a score in [0, 1] as people read it, in per cent."""
    return f"{100 * score:.1f}"


def read_results(path: Path) -> Results:
    """Return the results of a file, or of a folder's results.json; raises InputError."""
    file = path / FILE if path.is_dir() else path
    try:
        return Results.model_validate_json(read_text(file, "the results of an evaluation"))
    except ValidationError as error:
        raise InputError(f"{file}: not the results of an evaluation: {problem(error)}") from error
