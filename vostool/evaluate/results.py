"""What an evaluation found: values that are written, read again, and told in many forms.

Per object the scores of every frame are kept; means, recall and decay follow from them.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from vostool.errors import InputError
from vostool.evaluate.metrics import Statistics, statistics

SCHEMA_VERSION = 1  # of results.json
FILE = "results.json"


class Part(BaseModel):
    """A part of the results: fixed once made."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ObjectScores(Part):
    """Region similarity and contour accuracy of one object, frame by frame, in [0, 1]."""

    j: list[float]
    f: list[float]
    group: str | None = None  # YouTube-VOS: "seen" or "unseen" in training

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


class ClipScores(Part):
    """One clip: its scored frames, and its objects by id.

    An object is scored on all of the frames, or, if it enters late, on the last ones.
    """

    name: str
    frames: list[str]
    objects: dict[int, ObjectScores]

    @property
    def j_and_f(self) -> float:
        """The mean of J&F over the objects."""
        return sum(scores.j_and_f for scores in self.objects.values()) / len(self.objects)


class Speed(Part):
    """How long it took: the network alone, and all from first frame read to last written."""

    frames: int
    network_seconds: float
    total_seconds: float
    device: str
    precision: str

    @property
    def network_fps(self) -> float:
        """Frames per second as papers count them."""
        return self.frames / self.network_seconds if self.network_seconds else 0.0

    @property
    def total_fps(self) -> float:
        """Frames per second as users feel them."""
        return self.frames / self.total_seconds if self.total_seconds else 0.0


class Results(Part):
    """All that an evaluation found, and what is needed to do it again."""

    schema_version: int = SCHEMA_VERSION
    benchmark: str
    split: str
    root: Path
    predictions: Path  # the folder with one folder of masks per clip
    options: dict[str, Any] = {}  # of the model; empty for masks made elsewhere
    versions: dict[str, str] = {}
    clips: list[ClipScores]
    speed: Speed | None = None  # None for masks made elsewhere
    # by clip, the frames from which memory was short, and the limits from there on
    lowered: dict[str, list[dict[str, int | None]]] = {}

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


def read_results(path: Path) -> Results:
    """Read results.json, or the one in a folder; raises InputError."""
    file = path / FILE if path.is_dir() else path
    try:
        return Results.model_validate_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{file}: not the results of an evaluation: {reason}") from error
