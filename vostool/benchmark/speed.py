"""`vostool bench`: the speed of the tool on this machine, stage by stage, and the machine's peak.

All passes run `vostool segment`, into a temporary folder: one to warm up, some for the speed, and
one more with a clock around every call of the network. The network's FLOPs are compared with the
peak throughput of the machine, measured in the same run.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch

from vostool.benchmark.flops import frame_cost
from vostool.benchmark.hardware_peak import measure_ceiling
from vostool.benchmark.report import (
    BenchClip,
    BenchDevice,
    BenchReport,
    Ceiling,
    PeakMemory,
    Rates,
)
from vostool.benchmark.timing import StageClock, timed
from vostool.device import (
    choose_precision,
    hardware_name,
    oom_as_device_error,
    precision_name,
)
from vostool.errors import UsageError
from vostool.inference.predictor import Predictor
from vostool.media.labels import MAX_OBJECTS, LabelMap
from vostool.media.masks import read_mask, write_mask
from vostool.progress import ProgressCallback, no_progress
from vostool.segment.demo import render_demo
from vostool.segment.job import Job
from vostool.segment.report import RunReport
from vostool.segment.run import segment


@dataclass(frozen=True)
class BenchJob:
    """What to measure on, by default the demo clip; raises UsageError."""

    video: Path | None = None
    masks: tuple[str, ...] = ()  # as given to --mask
    objects: int | None = None  # into how many the demo clip's mask is cut; None: 1
    frames: int = 50  # at most; the default memory bank is full from frame 35 on
    repeat: int = 3

    def __post_init__(self) -> None:
        if self.video is None and self.masks:
            raise UsageError("--mask: expected the VIDEO that it belongs to")
        if self.video is not None and not self.masks:
            raise UsageError(f"{self.video}: expected --mask MASK.png with it")
        if self.video is not None and self.objects is not None:
            raise UsageError("--objects: is for the demo clip; the mask of a VIDEO has its own")
        if self.objects is not None and not 1 <= self.objects <= MAX_OBJECTS:
            raise UsageError(f"--objects {self.objects}: expected 1 to {MAX_OBJECTS}")
        if self.frames < 2 or self.repeat < 1:
            raise UsageError(
                f"--frames {self.frames} --repeat {self.repeat}: expected 2 or more, 1 or more"
            )


def bench(
    job: BenchJob, predictor: Predictor, progress: ProgressCallback = no_progress
) -> BenchReport:
    """Return the report of a measurement; all that is written is temporary.

    `progress` counts the frames of all passes, and names the pass.
    Raises InputError, MaskError, OutputError, DeviceError or UsageError.
    """
    clock = StageClock(predictor.device)
    passes = [
        ("warm-up", predictor),
        *[("speed", predictor)] * job.repeat,
        ("stages", timed(predictor, clock)),
    ]
    reports = run_passes(job, passes, progress)
    memory = peak_memory(predictor.device)
    with oom_as_device_error(predictor.device):
        return describe(job, predictor, reports[1:], clock, memory)


def run_passes(
    job: BenchJob, passes: Sequence[tuple[str, Predictor]], progress: ProgressCallback
) -> list[RunReport]:
    """Return the reports of segmenting a job's clip with one predictor after another."""
    reports = []
    device = passes[0][1].device
    with TemporaryDirectory(prefix="vostool-bench-") as folder:
        video, masks = clip_of(job, Path(folder))
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        for number, (words, each) in enumerate(passes):
            run = Job(video, masks, Path(folder) / f"pass-{number}", end=job.frames, states=False)
            shown = counted(progress, number, len(passes), words)
            reports.append(segment(run, each, shown))
    return reports


def describe(
    job: BenchJob,
    predictor: Predictor,
    reports: Sequence[RunReport],
    clock: StageClock,
    memory: PeakMemory,
) -> BenchReport:
    """Return the report of the passes: those for speed, and last the one with the clock."""
    *runs, last = reports
    clip = BenchClip(
        video=str(job.video) if job.video else None,
        width=last.input.width,
        height=last.input.height,
        frames=last.frames,
        objects=len(last.objects),
    )
    rates, stages = speeds(runs), stage_times(clock, last)
    frame = frame_cost(predictor, clip)
    uncorrected = 1 - min(1.0, stages["correct"] / stages["network"])  # of the network's time
    reached = frame.gflop * rates.network / uncorrected if uncorrected else 0.0
    ceilings = ceilings_of(predictor)
    convolution = ceilings[precision_name(predictor.precision)].convolution
    return BenchReport(
        versions=last.versions,
        device=BenchDevice(name=str(predictor.device), hardware=hardware_name(predictor.device)),
        threads=torch.get_num_threads(),
        network=predictor.identity,
        options=predictor.options,
        limits=last.limits,
        clip=clip,
        fps=rates,
        stages=stages,
        memory=memory,
        warnings=[warning.message for warning in last.warnings],
        frame=frame,
        gflop_per_second=round(reached, 1),
        ceiling={name: each.rounded() for name, each in ceilings.items()},
        share_of_convolution_ceiling=round(reached / convolution, 3),
    )


def clip_of(job: BenchJob, folder: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the job's video and masks, or those of the demo clip, rendered into a folder."""
    if job.video is not None:
        return job.video, job.masks
    video, (mask,) = render_demo(folder)
    cut = folder / "mask.png"
    write_mask(cut, bands(read_mask(Path(mask)), job.objects or 1))
    return video, (str(cut),)


def bands(labels: LabelMap, count: int) -> LabelMap:
    """Return a label map (H, W) whose objects are cut into `count` bands of the same area.

    The bands are horizontal, numbered from 1 downwards.
    """
    area = np.flatnonzero(labels)  # row by row
    cut = np.zeros(labels.size, np.uint8)
    for id_, band in enumerate(np.array_split(area, count), start=1):
        cut[band] = id_
    return cut.reshape(labels.shape)


def counted(progress: ProgressCallback, number: int, passes: int, words: str) -> ProgressCallback:
    """Return the callback of a pass, so that `progress` counts the frames of all passes."""

    def report(done: int, total: int | None, _: str) -> None:
        if total is None:
            progress(done, None, words)
        else:
            progress(number * total + done, passes * total, words)

    return report


def speeds(runs: Sequence[RunReport]) -> Rates:
    """Return the frames per second of passes: the medians, their ratio, and all of them."""
    each = {
        "network": [run.frames / run.seconds.network for run in runs],
        "end_to_end": [run.frames / run.seconds.total for run in runs],
    }
    network, end_to_end = (median(rates) for rates in each.values())
    return Rates(
        network=round(network, 3),
        end_to_end=round(end_to_end, 3),
        ratio=round(end_to_end / network, 3),
        runs={name: [round(rate, 3) for rate in rates] for name, rates in each.items()},
    )


def stage_times(clock: StageClock, report: RunReport) -> dict[str, float]:
    """Return milliseconds per frame of a timed pass, by stage.

    The network's are those of the clock and "other" (aggregation, reading the given masks);
    "media" is what decoding, upsampling to labels and writing add, as far as no thread hides it.
    """
    network, total = report.seconds.network, report.seconds.total
    # the report rounds to milliseconds, so that a short rest may come out below 0
    other = max(0.0, network - sum(clock.seconds.values()))
    media = max(0.0, total - network)
    seconds = {**clock.seconds, "other": other, "network": network, "media": media, "total": total}
    return {name: round(1000 * each / report.frames, 3) for name, each in seconds.items()}


def peak_memory(device: torch.device) -> PeakMemory:
    """Return the most memory so far, MB: of the whole process, and of PyTorch on a CUDA device."""
    on_device = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return PeakMemory(ram=peak_ram(), device=on_device and round(on_device / 1e6, 1))


def peak_ram() -> float | None:
    """Return the most RAM that this process ever held, MB; None where it cannot be measured."""
    if sys.platform == "win32":
        return None
    import resource  # exists on Unix alone

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, else kibibytes
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def ceilings_of(predictor: Predictor) -> dict[str, Ceiling]:
    """Return the device's peaks in fp32, in its fastest precision, and in the model's."""
    fast = choose_precision("auto", predictor.device)
    precisions = dict.fromkeys((torch.float32, fast, predictor.precision))
    return {
        precision_name(precision): measure_ceiling(predictor.device, precision)
        for precision in precisions
    }
