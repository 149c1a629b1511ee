"""What is said of a run once it has ended, and drawn of its checks."""

from pathlib import Path
from typing import TYPE_CHECKING

from vostool.cli.printing import print_message
from vostool.inference.cuts import OnCut, describe_cuts

if TYPE_CHECKING:
    from vostool.segment.report import RunReport


def plot_checks(folder: Path, report: "RunReport") -> None:
    """Draw the checks of a run, if it has any, as check.png in its folder."""
    if report.checks is not None and report.checks.objects:
        from vostool.analysis.checks import draw_checks
        from vostool.media.figures import save_figure

        save_figure(folder / "check.png", draw_checks(report.checks))


def print_summary(report: "RunReport", quiet: bool) -> None:
    """Print the warnings and the speed of a run."""
    for warning in report.warnings:
        print_message(f"warning: {warning.message}", quiet)
    acted = OnCut(report.options.get("cuts", OnCut.IGNORE))
    if report.cuts and acted is not OnCut.IGNORE:
        print_message(describe_cuts(report.cuts, acted), quiet)
    for line in report.checks.lines() if report.checks else ():
        print_message(line, quiet)
    print_message(
        f"{report.frames} frames, {report.fps.end_to_end} frames/s "
        f"(network alone {report.fps.network})",
        quiet,
    )
