"""`vostool eval compare` on the command line."""

from pathlib import Path
from typing import Annotated

import typer

from vostool.cli.options import AsJson
from vostool.cli.printing import print_json, print_path
from vostool.cli.scores import print_comparison


def compare_runs(
    first: Annotated[Path, typer.Argument(help="A run's folder, or its results.json.")],
    second: Annotated[Path, typer.Argument(help="Another run, on the same clips.")],
    picture: Annotated[
        Path | None,
        typer.Option(
            help="Write a PNG of the frames on which the masks of both differ most, side by side; "
            "needs no truth.",
            show_default=False,
        ),
    ] = None,
    rows: Annotated[
        int, typer.Option(min=1, help="Frames in the picture, each of another clip.")
    ] = 4,
    as_json: AsJson = False,
) -> None:
    """Print the score difference, second run minus first, with confidence intervals.

    The intervals are bootstrapped: clips are drawn 10,000 times with replacement.
    """
    from vostool.evaluate.compare import compare
    from vostool.evaluate.results import read_results
    from vostool.files.claims import refuse_to_replace

    if picture is not None:
        refuse_to_replace([picture], "choose another file")
    runs = read_results(first), read_results(second)
    # masks can be drawn without truth
    comparison = None
    if picture is None or any(run.clips for run in runs):
        comparison = compare(*runs, names=(str(first), str(second)))
    if picture is not None:
        from vostool.evaluate.side_by_side import draw_side_by_side, titles_of
        from vostool.media.figures import save_figure

        save_figure(picture, draw_side_by_side(runs, titles_of(first, second), rows))
    if comparison is not None:
        print_comparison(comparison, as_json)
    if picture is not None:
        print_path(picture, as_json)
    if as_json:
        found = {} if comparison is None else comparison.model_dump()
        if comparison is not None:
            found["warnings"] = comparison.warnings
        if picture is not None:
            found["picture"] = picture
        print_json(found)
