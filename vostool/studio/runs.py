"""Label maps as runs of equal ids, as the page and the server exchange them.

A run is two unsigned 32-bit little-endian integers: an id and a length in pixels. Runs go along
the rows from the top left to the bottom right, across the ends of rows. They are exact, and small
for masks: a picture would have to be decoded, by rules of colour that browsers choose.

Shapes: labels (H, W), uint8.
"""

import numpy as np

from vostool.errors import MaskError
from vostool.media.labels import MAX_OBJECTS, LabelMap

RUN = np.dtype([("id", "<u4"), ("length", "<u4")])


def encode_runs(labels: LabelMap) -> bytes:
    """Return labels as runs, as few as there can be."""
    values = labels.ravel()
    starts = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1])
    runs = np.empty(len(starts), RUN)
    runs["id"] = values[starts]
    runs["length"] = np.diff(starts, append=values.size)
    return runs.tobytes()


def decode_runs(content: bytes, shape: tuple[int, int]) -> LabelMap:
    """Return the labels (H, W) that runs stand for.

    Raises MaskError if they are cut off, do not cover the shape exactly, or have other ids than
    0 to 254.
    """
    if len(content) % RUN.itemsize:
        raise MaskError(f"runs: expected pairs of 4-byte integers, found {len(content)} bytes")
    runs = np.frombuffer(content, RUN)
    covered = int(runs["length"].sum(dtype=np.uint64))  # checked before that much is allocated
    if covered != shape[0] * shape[1]:
        raise MaskError(f"runs: expected {shape[0] * shape[1]} pixels in all, found {covered}")
    if runs["id"].max() > MAX_OBJECTS:
        raise MaskError(f"runs: expected ids 0 to {MAX_OBJECTS}, found {runs['id'].max()}")
    return np.repeat(runs["id"].astype(np.uint8), runs["length"]).reshape(shape)
