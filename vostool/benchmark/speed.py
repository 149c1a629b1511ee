"""`vostool bench`: how fast this machine runs the tool, stage by stage, and what it could reach.

All passes go the very way of `vostool segment`, into a temporary folder: one to warm up, some
for the speed, and one more with a clock around every call of the network. What the
network multiplies in a frame is set against the ceiling of the machine, measured in the same run.
"""

import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from vostool.benchmark.peak import Ceiling, measure_ceiling
from vostool.benchmark.timing import StageClock, timed
from vostool.device import choose_precision, oom_as_device_error
from vostool.errors import UsageError
from vostool.inference.predictor import Predictor
from vostool.media.labels import MAX_OBJECTS, LabelMap
from vostool.media.masks import read_mask, write_mask
from vostool.preprocess import Size, working_size
from vostool.propagation.frame_loop import References
from vostool.segment.demo import render_demo
from vostool.segment.job import Job, segment

SCHEMA_VERSION = 1  # of the report

Progress = Callable[[int, int | None, str], None]


@dataclass(frozen=True)
class BenchJob:
    """What to measure on; without a video on the demo clip. Raises UsageError."""

    video: Path | None = None
    masks: tuple[str, ...] = ()  # as given to --mask
    objects: int | None = None  # into how many the demo clip's mask is cut; None: 1
    frames: int = 50  # at most; with the default memory, it is full from frame 35 on
    repeat: int = 3

    def __post_init__(self) -> None:
        if self.video is None and self.masks:
            raise UsageError("--mask: expected the VIDEO that it belongs to")
        if self.video is not None and not self.masks:
            raise UsageError("expected --mask MASK.png: what to follow, on the first frame")
        if self.video is not None and self.objects is not None:
            raise UsageError("--objects: the mask of a VIDEO has its own; leave one of them out")
        if self.objects is not None and not 1 <= self.objects <= MAX_OBJECTS:
            raise UsageError(f"--objects {self.objects}: expected 1 to {MAX_OBJECTS}")
        if self.frames < 2 or self.repeat < 1:
            raise UsageError(
                f"--frames {self.frames} --repeat {self.repeat}: expected 2 or more, 1 or more"
            )


def bench(
    job: BenchJob, predictor: Predictor, progress: Progress = lambda *_: None
) -> dict[str, Any]:
    """Measure, and return the report; all that is written is temporary.

    `progress` is called with the number of frames done, if known of all, and which pass it is.
    Speeds are in frames per second, stages in milliseconds per frame, memory in MB (10^6 bytes).
    Raises InputError, MaskError, OutputError, DeviceError or UsageError.
    """
    clock = StageClock(predictor.device)
    passes = [
        ("warm-up", predictor),
        *[("speed", predictor)] * job.repeat,
        ("stages", timed(predictor, clock)),
    ]
    reports = []
    with TemporaryDirectory(prefix="vostool-bench-") as folder:
        video, masks = clip_of(job, Path(folder))
        if predictor.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(predictor.device)
        for number, (words, each) in enumerate(passes):
            run = Job(video, masks, Path(folder) / f"pass-{number}", end=job.frames)
            shown = counted(progress, number, len(passes), words)
            reports.append(segment(run, each, shown))
    memory = peak_memory(predictor.device)
    _, *runs, last = reports
    with oom_as_device_error(predictor.device):
        report = {
            "schema_version": SCHEMA_VERSION,
            "versions": last["versions"],
            "device": {"name": str(predictor.device), "hardware": hardware(predictor.device)},
            "threads": torch.get_num_threads(),
            "network": predictor.identity,
            "options": predictor.options,
            "limits": last["limits"],  # other than the options say where memory ran out
            "clip": {
                "video": job.video and str(job.video),  # None: the demo clip
                **{name: last["input"][name] for name in ("width", "height")},
                "frames": last["frames"],
                "objects": len(last["objects"]),
            },
            "fps": speeds(runs),
            "stages": stage_times(clock, last),
            "memory": memory,
            "warnings": [warning["message"] for warning in last["warnings"]],
        }
        return report | efficiency(predictor, report)


def clip_of(job: BenchJob, folder: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the job's video and masks, or those of the demo clip, rendered into a folder."""
    if job.video is not None:
        return job.video, job.masks
    video, (mask,) = render_demo(folder)
    cut = folder / "mask.png"
    write_mask(cut, bands(read_mask(Path(mask)), job.objects or 1))
    return video, (str(cut),)


def bands(labels: LabelMap, count: int) -> LabelMap:
    """Cut the area of all objects of a label map (H, W) into `count` objects of the same size.

    They are horizontal bands, numbered from 1 downwards.
    """
    area = np.flatnonzero(labels)  # row by row
    cut = np.zeros(labels.size, np.uint8)
    for id_, band in enumerate(np.array_split(area, count), start=1):
        cut[band] = id_
    return cut.reshape(labels.shape)


def counted(progress: Progress, number: int, passes: int, words: str) -> Progress:
    """Return what a pass is to call, so that `progress` sees the frames of all passes."""

    def report(done: int, total: int | None, _: str) -> None:
        if total is None:
            progress(done, None, words)
        else:
            progress(number * total + done, passes * total, words)

    return report


def speeds(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the frames per second of passes: the medians, their ratio, and all of them."""
    each = {
        "network": [run["frames"] / run["seconds"]["network"] for run in runs],
        "end_to_end": [run["frames"] / run["seconds"]["total"] for run in runs],
    }
    network, end_to_end = (median(rates) for rates in each.values())
    return {
        "network": round(network, 3),
        "end_to_end": round(end_to_end, 3),
        "ratio": round(end_to_end / network, 3),
        "runs": {name: [round(rate, 3) for rate in rates] for name, rates in each.items()},
    }


def stage_times(clock: StageClock, report: dict[str, Any]) -> dict[str, float]:
    """Return milliseconds per frame of a timed pass, by stage.

    The network's are those of the clock and "other" (aggregation, reading of the masks given);
    "media" is what decoding, enlarging to labels and writing add, as far as threads do not hide it.
    """
    network, total = report["seconds"]["network"], report["seconds"]["total"]
    # the report rounds to milliseconds, so that a short rest may come out below 0
    other = max(0.0, network - sum(clock.seconds.values()))
    media = max(0.0, total - network)
    seconds = {**clock.seconds, "other": other, "network": network, "media": media, "total": total}
    return {name: round(1000 * each / report["frames"], 3) for name, each in seconds.items()}


def peak_memory(device: torch.device) -> dict[str, float | None]:
    """Return the most memory so far, MB: of the whole process, and of PyTorch on a CUDA device."""
    on_device = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return {"ram": peak_ram(), "device": on_device and round(on_device / 1e6, 1)}


def peak_ram() -> float | None:
    """Return the most RAM that this process ever held, MB; None where there is no telling."""
    if sys.platform == "win32":
        return None
    import resource  # of Unix alone

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, else kibibytes
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def hardware(device: torch.device) -> str:
    """Return what the device is, as far as PyTorch knows."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"


def efficiency(predictor: Predictor, report: dict[str, Any]) -> dict[str, Any]:
    """Return the network's FLOPs, the machine's ceiling, and the share of it that was reached.

    Corrected frames count without their correction. All frames count as full ones, though the
    first is not segmented, the last not memorized, and the memory grows at first: on a clip of
    few frames the share comes out too high, by 7 % on one of 8, by 1 % on one of 50 (measured).
    """
    clip, stages = report["clip"], report["stages"]
    size = working_size(clip["height"], clip["width"], predictor.size, predictor.network.stride)
    remembered = frames_remembered(predictor.references, clip["frames"], predictor.memory_frames)
    flops = frame_flops(predictor, size, clip["objects"], remembered)
    plain = 1 - min(1.0, stages["correct"] / stages["network"])  # share of the network's time
    reached = flops / 1e9 * report["fps"]["network"] / plain if plain else 0.0
    ceilings = ceilings_of(predictor)
    convolution = ceilings[report["options"]["precision"]].convolution
    return {
        "frame": {
            "gflop": round(flops / 1e9, 3),
            "remembered": remembered,
            "working_size": size,
        },
        "gflop_per_second": round(reached, 1),
        "ceiling": {
            name: {key: round(value, 1) for key, value in asdict(each).items()}
            for name, each in ceilings.items()
        },
        "share_of_convolution_ceiling": round(reached / convolution, 3),
    }


def frames_remembered(references: References, frames: int, most: int | None) -> int:
    """Return how many frames are in memory when the last of a clip's frames is segmented."""
    seen = range(frames - 1)
    kept = {index for index in seen if references.keep(index, annotated=index == 0)}
    if references.previous:
        kept |= set(seen[-1:])
    return max(1, min(len(kept), most or len(kept)))


@torch.no_grad()
def frame_flops(predictor: Predictor, size: Size, objects: int, remembered: int) -> int:
    """Count the FLOPs of a frame without correction: encoded, segmented and memorized once.

    A multiplication and an addition are two. `size` is that at which the network works.
    """
    network = predictor.segmenter
    image = torch.rand(1, 3, *size, device=predictor.device)
    masks = torch.full((1, objects + 1, *size), 1 / (objects + 1), device=predictor.device)
    features, memory = network.encode(image), None
    for _ in range(remembered):
        memory = network.memorize(features, masks, memory)
    with FlopCounterMode(display=False) as counter:
        network.segment(network.encode(image), memory)
        network.memorize(features, masks)
    return counter.get_total_flops()


def ceilings_of(predictor: Predictor) -> dict[str, Ceiling]:
    """Measure the device in fp32, in what it computes fastest, and as the model runs."""
    fast = choose_precision("auto", predictor.device)
    precisions = dict.fromkeys((torch.float32, fast, predictor.precision))
    return {
        str(precision).removeprefix("torch."): measure_ceiling(predictor.device, precision)
        for precision in precisions
    }
