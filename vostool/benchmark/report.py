"""The report of `vostool bench`, which --json prints.

Speeds are in frames per second, stages in milliseconds per frame, memory in MB (10^6 bytes).
"""

from typing import Any

from vostool.files.documents import Document
from vostool.inference.reports import LimitsReached, Network


class BenchDevice(Document):
    """Where the network ran."""

    name: str
    hardware: str


class BenchClip(Document):
    """What was segmented."""

    video: str | None  # None: the demo clip
    width: int
    height: int
    frames: int
    objects: int


class Rates(Document):
    """Frames per second: the medians of the passes, their ratio, and those of every pass."""

    network: float
    end_to_end: float
    ratio: float
    runs: dict[str, list[float]]


class PeakMemory(Document):
    """The most memory held, MB; None where it cannot be measured."""

    ram: float | None
    device: float | None


class FrameCost(Document):
    """What the network computes for a frame without correction."""

    gflop: float
    remembered: int  # frames in the memory bank
    working_size: tuple[int, int]  # height, width


class Ceiling(Document):
    """The most that a device reached, GFLOP/s; a multiplication and an addition are two."""

    matrix_product: float | None  # None for int8, in which no network multiplies matrices
    convolution: float

    def rounded(self) -> "Ceiling":
        """Return the same to a tenth of a GFLOP/s."""
        matrix = self.matrix_product
        return Ceiling(
            matrix_product=None if matrix is None else round(matrix, 1),
            convolution=round(self.convolution, 1),
        )


class BenchReport(Document):
    """Speed, stages and memory, and what share of the machine's ceiling the network reached."""

    schema_version: int = 1
    versions: dict[str, str]
    device: BenchDevice
    threads: int
    network: Network
    options: dict[str, Any]
    limits: LimitsReached  # lower than the options where memory ran out
    clip: BenchClip
    fps: Rates
    stages: dict[str, float]
    memory: PeakMemory
    warnings: list[Any]
    frame: FrameCost
    gflop_per_second: float
    ceiling: dict[str, Ceiling]  # by precision
    share_of_convolution_ceiling: float
