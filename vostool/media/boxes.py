"""The parts of a picture that hold its objects: what is done to objects alone is done there."""

from collections.abc import Iterator

import numpy as np

from vostool.media.labels import LabelMap


def boxes_around(labels: LabelMap, margin: int) -> Iterator[tuple[slice, slice]]:
    """Yield the rows and columns of parts that hold all objects and `margin` pixels around each.

    They don't overlap.
    """
    for rows in _stretches(labels.max(axis=1), margin):
        for columns in _stretches(labels[rows].max(axis=0), margin):
            yield rows, columns


def _stretches(there: LabelMap, margin: int) -> Iterator[slice]:
    """Yield what is there along one side and `margin` around, in as many stretches as there are."""
    places = np.flatnonzero(there)
    for part in np.split(places, np.flatnonzero(np.diff(places) > 2 * margin) + 1):
        if len(part):
            yield slice(max(0, int(part[0]) - margin), int(part[-1]) + margin + 1)
