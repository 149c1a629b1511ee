"""The reports of `vostool segment --batch`: written, drawn, printed and merged."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vostool.cli.printing import print_json, print_message
from vostool.errors import OutputError

if TYPE_CHECKING:
    from vostool.segment.batch_report import BatchReport


def keep_report(report: "BatchReport", path: Path, address: str | None, drawn: bool) -> None:
    """Write the report of a batch, or upload it under its name to the address of the outputs.

    `drawn` says whether its picture lies beside it.
    """
    from tempfile import TemporaryDirectory

    from vostool.files.remote import Remote

    if address is None:
        write_and_draw(report, path, drawn)
        return
    with TemporaryDirectory(prefix="vostool-") as folder:
        write_and_draw(report, Path(folder) / path.name, drawn)
        Remote.at(address).upload({each.name: each for each in Path(folder).iterdir()})


def write_and_draw(report: "BatchReport", path: Path, drawn: bool) -> None:
    """Write the report of a batch; if it is to be drawn, and there is any job, its picture too."""
    from vostool.segment.batch_report import picture_path, write_report

    write_report(path, report)
    if drawn and report.jobs:
        from vostool.media.figures import save_figure
        from vostool.segment.batch_picture import draw_batch

        save_figure(picture_path(path), draw_batch(report))


def print_use(report: "BatchReport", quiet: bool) -> None:
    """Print how much each worker had to do."""
    for each in report.workers:
        words = f"{each.videos}, {each.frames} frames, busy {each.share:.0%}"
        print_message(f"{each.worker}: {words}", quiet)


def merge_reports(folder: Path, as_json: bool, quiet: bool) -> None:
    """Write batch.json and its picture from the reports of shards, and print its path or itself.

    Exits with the code of the first job that failed, or that no shard has done.
    """
    from vostool.segment.batch_report import merge, removal, report_path

    report, path = merge(folder), report_path(folder)
    removal(path, drawn=True)()
    write_and_draw(report, path, drawn=True)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        print(path)
    print_use(report, quiet)
    missing = report.rows - report.totals["done"] - report.totals["already done"]
    if missing:
        failed = [each for each in report.jobs if each.status in ("failed", "elsewhere")]
        for each in failed:
            left = f"{each.output}: left to a process that has not done it; run the shards again"
            words = each.error or left
            print_message(f"vostool: {words}")
        print_message(f"vostool: {path}: {missing} of {report.rows} videos are not done, see above")
        codes = [each.exit_code for each in failed if each.exit_code]
        raise typer.Exit(codes[0] if codes else OutputError.exit_code)
