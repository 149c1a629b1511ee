"""`vostool eval`: segment every clip of a benchmark, and score the masks.

The network runs on the next clip while the masks of the last one are scored. Each finished clip
is recorded in the folder's run.json, and the clip at hand has states like those of `segment`; an
interrupted run is resumed from there, only if all options are the same: results of different runs
are never mixed.
"""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import torch

from vostool import __version__
from vostool.device import hardware_name, precision_name
from vostool.errors import InputError
from vostool.evaluate.disturbed import check_known
from vostool.evaluate.predict import in_pool, in_turn
from vostool.evaluate.protocols import Benchmark, BenchmarkClip
from vostool.evaluate.results import FILE, ClipScores, Results, Speed
from vostool.evaluate.results_writer import MASKS, STATE, make_results, write_results
from vostool.evaluate.scoring import Scorer
from vostool.evaluate.state import ClipDone, Description, RunFolder, read_state
from vostool.files.claims import claimed
from vostool.inference.predictor import Predictor
from vostool.media.video import probe
from vostool.progress import ProgressCallback, no_progress
from vostool.scale.work import Pool


def evaluate(
    benchmark: Benchmark,
    predictor: Predictor,
    folder: Path,
    *,
    overwrite: bool = False,
    progress: ProgressCallback = no_progress,
    pool: Pool[BenchmarkClip] | None = None,
) -> Results:
    """Predict all clips of a benchmark into `folder`/masks/<clip>, score and report them.

    With a pool several clips are predicted at once, by workers that load a `ClipWork` of the
    predictor's options. Raises OutputError if the folder holds a finished run or one with other
    options, what `check_known`, predicting and scoring raise; finished clips are not repeated, and
    KeyboardInterrupt gets a note of how many there are.
    """
    counts = count_frames(benchmark)
    check_known(benchmark, predictor)
    run = RunFolder(folder, describe(benchmark, predictor))
    scores: dict[str, Future[ClipScores]] = {}
    with claimed(folder) as claim, run.at_work(claim, overwrite), Scorer() as scorer:

        def score(clip: BenchmarkClip) -> None:
            if clip.objects:
                scores[clip.name] = scorer.submit(clip, folder / MASKS / clip.name)

        for clip in benchmark.clips:
            if clip.name in run.done:
                score(clip)
        shown = Shown(counts, run, progress)
        left = [clip for clip in benchmark.clips if clip.name not in run.done]
        predicted = (
            in_turn(left, predictor, folder / MASKS, shown)
            if pool is None
            else in_pool(left, pool, counts, shown)
        )
        for clip, done in predicted:
            run.finish(clip.name, done)
            score(clip)
        progress(run.frames, run.frames, "scoring")
        results = results_of(benchmark, predictor, run, scores)
        write_results(folder, results)
        run.close()
    return results


@dataclass(frozen=True)
class Shown:
    """Shows how far a run is, in frames."""

    counts: Mapping[str, int | None]  # frames of the clips
    run: RunFolder
    progress: ProgressCallback

    def __call__(self, frames: int, name: str) -> None:
        """Report so many frames of the clips at hand, and the name if it is one."""
        known = [count for count in self.counts.values() if count is not None]
        total = sum(known) if len(known) == len(self.counts) else None
        number = f"{len(self.run.done) + bool(name)} of {len(self.counts)} clips"
        words = f"{name}, {number}" if name else number
        self.progress(self.run.frames + frames, total, words)


def results_of(
    benchmark: Benchmark,
    predictor: Predictor,
    run: RunFolder,
    scores: dict[str, Future[ClipScores]],
) -> Results:
    """Return the results of a run, once all is scored, in the benchmark's order of clips."""
    names = [clip.name for clip in benchmark.clips]
    done = {name: run.done[name] for name in names}
    return make_results(
        benchmark,
        run.folder / MASKS,
        [scores[name].result() for name in names if name in scores],
        run.description.options,
        total_speed(done, predictor),
        {name: clip.lowered for name, clip in done.items() if clip.lowered},
        predictor.weights,
        warnings=[line for clip in done.values() for line in clip.warnings],
    )


def count_frames(benchmark: Benchmark) -> dict[str, int | None]:
    """Return how many frames each clip has; None where its container does not know.

    Raises InputError if those of a clip are not there, or not as many as its truth has.
    """
    counts: dict[str, int | None] = {}
    for clip in benchmark.clips:
        if clip.source is None:
            raise InputError(f"{benchmark.root}: no video and no frames of the clip {clip.name!r}")
        frames = probe(clip.source).frames
        if clip.masks and frames is not None and frames != clip.masks:
            raise InputError(f"{clip.source}: has {frames} frames, the truth {clip.masks}")
        counts[clip.name] = frames
    return counts


def describe(benchmark: Benchmark, predictor: Predictor) -> Description:
    """Return all settings that affect the masks of a run."""
    network = predictor.identity
    return Description(
        vostool=__version__,
        benchmark=benchmark.name,
        root=str(benchmark.root.resolve()),
        split=benchmark.split,
        clips=[clip.name for clip in benchmark.clips],
        options={
            **predictor.options,
            "model": network.model,
            "weights_sha256": network.sha256,  # wherever the file lies
            "settings": network.settings,
        },
    )


def holds(folder: Path, benchmark: Benchmark, predictor: Predictor) -> bool:
    """Return whether a folder holds this very run, finished; raises OutputError."""
    if not (folder / STATE).exists():
        return False
    state = read_state(folder / STATE)
    same = state.description == describe(benchmark, predictor)
    return same and state.status == "done" and (folder / FILE).exists()


def total_speed(done: dict[str, ClipDone], predictor: Predictor) -> Speed:
    """Add up the clips of a run."""
    return Speed(
        frames=sum(entry.timed_frames for entry in done.values()),
        network_seconds=sum(entry.network for entry in done.values()),
        total_seconds=sum(entry.total for entry in done.values()),
        device=device_name(predictor.device),
        precision=precision_name(predictor.precision),
    )


def device_name(device: torch.device) -> str:
    """Return a device with its make, and of a CPU the number of threads."""
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    return f"{device} ({hardware_name(device)}{threads})"
