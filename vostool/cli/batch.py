"""`vostool segment --batch` on the command line: many videos, in one process or many."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vostool import defaults
from vostool.cli.batch_reports import keep_report, merge_reports, print_use
from vostool.cli.loading import is_dealt, load_model, local_pool
from vostool.cli.printing import document_of, print_json, print_message
from vostool.cli.spread import Spread
from vostool.cli.standing import Show, show_standing
from vostool.cli.summary import plot_checks, print_summary
from vostool.errors import UsageError
from vostool.progress import ProgressCallback, ProgressForm, show_progress

if TYPE_CHECKING:
    from vostool.inference.options import ModelOptions
    from vostool.scale.scheduler import Standing
    from vostool.scale.work import Pool
    from vostool.segment.batch import Outcome
    from vostool.segment.batch_report import BatchStatus, JobEntry
    from vostool.segment.job import Job
    from vostool.segment.report import RunReport


@dataclass(frozen=True)
class Printing:
    """What a batch prints, and draws."""

    as_json: bool
    quiet: bool
    form: ProgressForm
    plot: bool  # the checks of each video


@dataclass
class Results:
    """What is kept of the outcomes of a batch: by their numbers, and little of each."""

    printing: Printing
    announce: bool  # the licence of weights, as nobody else does
    entries: "dict[int, JobEntry]" = field(default_factory=dict)
    paths: dict[int, list[str]] = field(default_factory=dict)
    documents: dict[int, dict[str, Any]] = field(default_factory=dict)  # for --json
    errors: dict[int, int] = field(default_factory=dict)  # exit codes
    warnings: list[str] = field(default_factory=list)

    def add(self, outcome: "Outcome") -> None:
        """Keep an outcome, and print what is to be said of it."""
        from vostool.segment.batch_report import JobEntry

        quiet, report = self.printing.quiet, outcome.report
        self.entries[outcome.number] = JobEntry.of(outcome)
        if outcome.error is not None:
            print_message(f"vostool: {outcome.error}")
            if outcome.own:  # else the shard that it belongs to says so
                self.errors[outcome.number] = outcome.error.exit_code
        elif report is not None:
            if self.printing.plot and outcome.job.upload is None:  # it has no folder here
                plot_checks(outcome.job.output, report)
            self._announce(report)
            name = outcome.job.input.path.name
            print_message(f"{name}:{' already done' * outcome.already}", quiet)
            print_summary(report, quiet)
            self.paths[outcome.number] = [path for path in report.outputs.values() if path]
            self.warnings += [warning.message for warning in report.warnings]
        elif outcome.elsewhere:
            words = "left to another process, which is at work on it"
            print_message(f"{outcome.job.input.path.name}: {words}", quiet)
        if self.printing.as_json and not outcome.elsewhere:
            self.documents[outcome.number] = document_of_job(outcome)

    def _announce(self, report: "RunReport") -> None:
        """Print under which licence the weights are, once."""
        network = report.network
        if self.announce and network.licence is not None:
            self.announce = False
            words = f"{network.file}: {network.published}, {network.licence}"
            print_message(words, self.printing.quiet)

    def print(self) -> None:
        """Print the results on stdout, in the order of the table."""
        if self.printing.as_json:
            print_json([self.documents[number] for number in sorted(self.documents)])
            return
        for number in sorted(self.paths):
            for path in self.paths[number]:
                print(path)


def segment_batch(
    table: Path, template: "Job", options: "ModelOptions", spread: Spread, printing: Printing
) -> list[str]:
    """Segment the videos of a table, print the results and return the warnings.

    With --json prints one array: of each video its report, or the document of its error. Exits
    with the code of the first error once all have been tried.
    """
    from vostool.segment.batch import segment_all
    from vostool.segment.batch_report import removal, removal_at, report_path
    from vostool.segment.batch_table import read_batch
    from vostool.segment.cost import alike, costs
    from vostool.segment.left_over import further

    shard, folder = spread.shard, template.output
    check_cluster(options, spread)
    if spread.merge:
        if template.upload is not None:
            words = f"--merge -o {template.upload}: expected a folder on this machine; fetch the"
            raise UsageError(f"{words} reports of the shards into one")
        merge_reports(folder, printing.as_json, printing.quiet)
        return []
    jobs = read_batch(table, template, options)
    results = Results(printing, announce=not spread.alone)
    more: Iterable[int | None] = ()
    path, drawn = report_path(folder, shard), not spread.alone
    if template.upload is not None:
        clear = removal_at(template.upload, path.name, template.overwrite, drawn=drawn)
    else:  # elsewhere are no claims that say what other shards leave over
        clear = removal(path, template.overwrite, drawn=drawn)
        report = partial(print_message, quiet=printing.quiet)
        more = further(
            jobs, shard, folder, results.entries, overwrite=template.overwrite, report=report
        )
    with (
        # loads the model, unless workers do
        pool_of(table, options, spread, printing) as (pool, show),
        reported(table, len(jobs), template, spread, results, clear),
    ):
        measure = alike if spread.alone else costs
        for outcome in segment_all(
            jobs, pool, measure=measure, shard=shard, more=more, report=show
        ):
            results.add(outcome)
    results.print()
    if results.errors:
        words = f"{len(results.errors)} of {len(shard.own(jobs))} videos failed, see above"
        print_message(f"vostool: {table}: {words}")
        raise typer.Exit(results.errors[min(results.errors)])
    return results.warnings


def check_cluster(options: "ModelOptions", spread: Spread) -> None:
    """Raise UsageError without Ray, or for a certain GPU on its cluster: Ray deals them out."""
    if spread.ray is None:
        return
    if options.device not in (defaults.AUTO, "cpu", "cuda"):
        raise UsageError(
            f"--on ray --device {options.device}: Ray deals out the GPUs of its nodes: give "
            "--device cuda, and set CUDA_VISIBLE_DEVICES where a node is started to keep it to some"
        )
    from vostool.scale.on_ray import import_ray

    import_ray()


@contextmanager
def pool_of(
    table: Path, options: "ModelOptions", spread: Spread, printing: Printing
) -> "Iterator[tuple[Pool[Job], Show]]":
    """Give the workers of a batch, and what shows how far they are."""
    name, quiet, form = table.name, printing.quiet, printing.form
    if spread.alone:
        from vostool.segment.batch import alone

        model = load_model(options, quiet)
        with show_progress(f"{name} on {model.device}", quiet, form=form) as progress:
            load = partial(load_model, quiet=quiet)  # of jobs with options of their own
            yield alone(model, load), one_by_one(progress)
    else:
        with show_standing(name, quiet, form=form) as show, workers_of(options, spread) as pool:
            yield pool, show


def workers_of(options: "ModelOptions", spread: Spread) -> "AbstractContextManager[Pool[Job]]":
    """Return the worker processes of this machine, or the actors of a cluster."""
    from vostool.segment.batch import LoadModel

    if spread.ray is not None:
        from vostool.files.claims import HEARTBEAT, STALE
        from vostool.scale.on_ray import RayPool

        # the claims of a node that is gone expire in that time
        load = LoadModel(options, patience=STALE + 2 * HEARTBEAT)
        return RayPool(load, spread.ray, workers=spread.workers, gpus=is_dealt(options))
    return local_pool(LoadModel(options), options, spread.workers or 1)


def one_by_one(progress: ProgressCallback) -> Show:
    """Return a callback that shows the one video at hand."""

    def show(standing: "Standing") -> None:
        for each in standing.running:
            words = f"{each.name}, {standing.ended + 1} of {standing.total} videos"
            progress(each.done, each.total, words)

    return show


@contextmanager
def reported(
    table: Path,
    rows: int,
    template: "Job",
    spread: Spread,
    results: Results,
    clear: Callable[[], object],
) -> Iterator[None]:
    """Write the report of a batch once the block has ended, however that is.

    `clear` removes that of a former run.
    """
    from vostool.segment.batch_report import BatchReport, report_path

    clear()
    started, clock = datetime.now(UTC), time.monotonic()
    status: BatchStatus = "done"
    try:
        yield
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    except BaseException:
        status = "failed"
        raise
    finally:
        seconds = time.monotonic() - clock
        report = BatchReport.of(
            table,
            rows,
            results.entries.values(),
            started,
            seconds=seconds,
            status=status,
            shard=spread.shard,
        )
        path = report_path(template.output, spread.shard)
        keep_report(report, path, template.upload, drawn=not spread.alone)
        if not spread.alone:
            print_use(report, results.printing.quiet)


def document_of_job(outcome: "Outcome") -> dict[str, Any]:
    """Return what --json prints for a job of a batch: its report, or its error."""
    if outcome.error is not None:
        return {"video": str(outcome.job.video), **document_of(outcome.error)}
    return outcome.report.model_dump(mode="json") if outcome.report else {}
