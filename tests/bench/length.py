"""Follow a video that never ends, and tell whether its frames get slower or take more.

    python -m tests.bench.length VIDEO --mask MASK.png --frames 10000 --size 96 [--weights FILE]
        [--memory-every N] [--memory-frames N] [--backward]

The video is repeated, packet by packet, until it has so many frames, and goes through
`vostool segment` from the first to the last, masks, overlay and all, in a temporary folder.
Printed are the milliseconds per frame and the memory over the first and the last frames, and
memory (the mean), threads and open files (the fewest, between two pictures that are written)
around one frame near the beginning and one near the end. On a machine that does other things too,
CPU time is the one to go by. With --backward the mask is that of the last frame, and its objects
are followed to the first one before: compare the peaks of a short and a long video.
"""

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Self

import av

from vostool.allocator import bound_arenas
from vostool.benchmark.speed import peak_ram
from vostool.defaults import WEIGHTS
from vostool.inference.loading import load_predictor
from vostool.inference.options import ModelOptions
from vostool.segment.job import Job
from vostool.segment.run import segment
from vostool.segment.writers import DEFAULT

PART = 500  # frames, of the beginning and of the end
SETTLED = 200  # frames after which everything has been allocated once
BEFORE_END = 100  # frames
AROUND = 50  # frames before and after: what is held wavers with the frames in flight


def repeat(source: Path, target: Path, frames: int) -> None:
    """Write a video's packets again and again, until they hold so many frames or more."""
    with av.open(str(source)) as video, av.open(str(target), "w") as output:
        stream = video.streams.video[0]
        copy = output.add_stream_from_template(stream)
        packets = [packet for packet in video.demux(stream) if packet.dts is not None]
        times = [packet.dts for packet in packets if packet.dts is not None]
        length = (times[-1] - times[0]) * len(times) // (len(times) - 1)
        for turn in range(-(-frames // len(packets))):
            for packet in packets:
                again = av.Packet(bytes(packet))
                again.stream, again.time_base = copy, packet.time_base
                again.is_keyframe = packet.is_keyframe
                again.dts = (packet.dts or 0) + turn * length
                again.pts = (packet.pts or 0) + turn * length
                output.mux(again)


@dataclass(frozen=True)
class Held:
    """What this process holds (Linux)."""

    memory: float  # MB of RAM
    threads: int
    files: int  # open ones

    @classmethod
    def now(cls) -> Self:
        """Return what is held at the moment."""
        status = Path("/proc/self/status").read_text()
        memory, threads = (
            int(status.split(f"{name}:")[1].split()[0]) for name in ("VmRSS", "Threads")
        )
        files = sum(1 for _ in Path("/proc/self/fd").iterdir())
        return cls(memory * 1024 / 1e6, threads, files)


@dataclass
class Record:
    """The clocks, and what is held, after each frame."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)

    def __call__(self, done: int, total: int | None, words: str) -> None:
        self.wall.append(time.perf_counter())
        self.cpu.append(time.process_time())
        self.held.append(Held.now())

    def tell(self, what: str, first: int, last: int) -> float:
        """Print what a stretch of frames took; return its CPU milliseconds per frame."""
        wall, cpu = (
            1000 * (clock[last] - clock[first]) / (last - first) for clock in (self.wall, self.cpu)
        )
        memory = fmean(held.memory for held in self.held[first : last + 1])
        print(
            f"{what} {last - first} frames: {cpu:6.2f} ms of CPU, {wall:6.2f} ms per frame, "
            f"{memory:.0f} MB held on average"
        )
        return cpu

    def compare(self, early: int, late: int) -> None:
        """Print what is held around two frames, and by how much that differs."""
        for name, sum_up in (("memory", fmean), ("threads", min), ("files", min)):
            before, after = (
                sum_up(getattr(held, name) for held in self.held[frame - AROUND : frame + AROUND])
                for frame in (early, late)
            )
            print(
                f"{name:7} around frame {early}: {before:.1f}, around frame {late}: {after:.1f} "
                f"({after / before - 1:+.1%})"
            )


def main() -> None:
    """Run, and print both ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("--mask", required=True)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--no-overlay", action="store_true")
    parser.add_argument("--weights", default=WEIGHTS)
    parser.add_argument("--memory-every", type=int)
    parser.add_argument("--memory-frames", type=int)
    parser.add_argument("--backward", action="store_true")
    arguments = parser.parse_args()
    bound_arenas()
    options = ModelOptions(
        size=arguments.size,
        weights=arguments.weights,
        memory_every=arguments.memory_every,
        memory_frames=arguments.memory_frames,
    )
    model, record = load_predictor(options), Record()
    with TemporaryDirectory(prefix="vostool-length-") as folder:
        video = Path(folder) / f"long{arguments.video.suffix}"
        repeat(arguments.video, video, arguments.frames)
        outputs = ("masks",) if arguments.no_overlay else DEFAULT
        output = Path(folder) / "out"
        backward, end = arguments.backward, arguments.frames
        mask = f"{end - 1}:{arguments.mask}" if backward else arguments.mask
        segment(Job(video, (mask,), output, outputs, end=end, backward=backward), model, record)
    frames = len(record.wall)  # both ways
    part = min(PART, (frames - 1) // 2)
    first = record.tell("first", 0, part)
    last = record.tell(" last", frames - 1 - part, frames - 1)
    print(f"{last / first - 1:+.1%} of CPU time; peak {peak_ram()} MB over {frames} frames")
    if frames > 2 * (SETTLED + BEFORE_END):
        record.compare(SETTLED, frames - BEFORE_END)


if __name__ == "__main__":
    main()
