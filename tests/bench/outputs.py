"""Measure every output of `vostool segment`: frames per second, and whether memory stays flat.

    python -m tests.bench.outputs
    python -m tests.bench.outputs --threads 2 cutouts
    python -m tests.bench.outputs --memory coco alpha=prores

Each output is written in a process of its own, from a synthetic film of two soft discs that move
over noise, without a network, into a temporary folder; `stdout` is what -o - writes. Printed are
its frames per second at 1080p, over 60 frames or as many as fit into 15 seconds, or with --memory
the peak of RAM over 300 and over 3,000 frames of 180 rows, and by how much they differ. Outputs
whose files may be written in any order are written by several --threads, as by the command.

Frames per second of all outputs take at most half a minute each, of which the imports and the
drawing of the film take some; the peaks of RAM about a minute each.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import cv2
import numpy as np

from vostool.benchmark.speed import peak_ram
from vostool.inference.prefetch import Helpers
from vostool.inference.soft import WHITE, SegmentedFrame, SoftMasks
from vostool.media.frame import Frame, VideoInfo, frame_name
from vostool.segment.writers import Source, Writer, every_output, writer_of
from vostool.segment.writers.pipe import LabelStream

SHORT, LONG = 300, 3000  # frames
SMALL = (240, 432)  # the network's input, height and width
DIFFERENT = 20  # frames, which then come again
RATE = Fraction(25)
STDOUT = "stdout"


def draw(index: int, height: int, width: int) -> SegmentedFrame:
    """Return a frame with two objects."""
    rng = np.random.default_rng(index)
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    rgb = cv2.resize(coarse, (width, height)).astype(np.uint8)
    rows, columns = np.mgrid[: SMALL[0], : SMALL[1]]
    small = np.zeros((3, *SMALL), np.float32)
    for channel, middle in ((1, 60 + 5 * index), (2, 380 - 5 * index)):
        distance = np.hypot(rows - 120, columns - middle)
        small[channel] = ((50 - distance) / 4 + 0.5).clip(0, 1)
    small[1] *= 1 - small[2]
    small[0] = 1 - small[1:].sum(axis=0)
    soft = SoftMasks((1, 2), (small * WHITE).astype(np.uint16), (height, width))
    labels = np.stack([1 - soft.of_all(), soft.of(1), soft.of(2)]).argmax(axis=0).astype(np.uint8)
    return SegmentedFrame(Frame(index, index / RATE, rgb, frame_name(index)), labels, soft)


def film(frames: int, height: int, width: int) -> Iterator[SegmentedFrame]:
    """Yield so many frames."""
    drawn = [draw(index, height, width) for index in range(DIFFERENT)]
    for index in range(frames):
        again = drawn[index % DIFFERENT]
        frame = Frame(index, index / RATE, again.frame.rgb, frame_name(index))
        yield SegmentedFrame(frame, again.labels, again.soft)


def made(name: str, folder: Path, source: Source, sink: BinaryIO) -> Writer:
    """Return the writer of an output, or of what goes to stdout."""
    return LabelStream(folder, source, sink) if name == STDOUT else writer_of(name, folder, source)


def measure(
    name: str, frames: int, height: int, seconds: float, threads: int
) -> dict[str, float | None]:
    """Write an output for at most so long, and return frames per second and the peak of RAM in MB.

    What is done at the end, once for the whole film, counts.
    """
    width = height * 16 // 9
    info = VideoInfo(
        path=Path("film.mp4"),
        width=width,
        height=height,
        frames=frames,
        rate=RATE,
        seconds=None,
        rotation=0,
        codec="h264",
        pixel_format="yuv420p",
        pixel_aspect=Fraction(1),
        has_audio=False,
    )
    with (
        TemporaryDirectory(prefix="vostool-outputs-") as folder,
        Path(os.devnull).open("wb") as nowhere,
    ):
        writer = made(name, Path(folder), Source(info.path, info, objects=(1, 2)), nowhere)
        shown = chain([next(drawn := film(frames, height, width))], drawn)
        begun = time.perf_counter()
        with writer, Helpers(threads if writer.in_any_order else 1, lambda: None) as helpers:
            writer.begin()
            for done, segmented in enumerate(shown, start=1):  # noqa: B007
                helpers.submit([partial(writer.add, segmented)])
                if time.perf_counter() - begun > seconds:
                    break
        took = time.perf_counter() - begun
    return {"fps": round(done / took, 2), "peak": peak_ram(), "frames": done}


def in_process(
    name: str, frames: int, height: int, seconds: float = sys.maxsize, threads: int = 1
) -> dict[str, float]:
    """Return what `measure` does, from a process of its own."""
    command = (sys.executable, "-m", "tests.bench.outputs", name, "--here")
    given = ("--frames", str(frames), "--height", str(height), "--seconds", str(seconds))
    beside = ("--threads", str(threads))
    found = subprocess.run((*command, *given, *beside), check=True, capture_output=True, text=True)
    return json.loads(found.stdout)


def main() -> None:
    """Measure, and print a line for each output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[*every_output(), STDOUT])
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--height", type=int, help="1080; with --memory 180")
    parser.add_argument("--seconds", type=float, default=15, help="for each, without --memory")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--here", action="store_true", help="one output, in this process")
    arguments = parser.parse_args()
    height = arguments.height or (180 if arguments.memory else 1080)
    begun = time.perf_counter()
    for name in arguments.names:
        if arguments.here:
            given = (arguments.frames, height, arguments.seconds, arguments.threads)
            print(json.dumps(measure(name, *given)))
            return
        if arguments.memory:
            short, long = (in_process(name, n, height)["peak"] for n in (SHORT, LONG))
            print(f"{name:16} {short:7.1f} {long:7.1f} MB {long / short - 1:+.1%}", flush=True)
        else:
            found = in_process(name, arguments.frames, height, arguments.seconds, arguments.threads)
            frames = f"{found['frames']:.0f} frames"
            print(f"{name:16} {found['fps']:7.2f} frames/s ({frames})", flush=True)
    print(f"{len(arguments.names)} outputs in {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
