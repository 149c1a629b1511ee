"""The command line: parse, call one function, report. Alone prints and exits.

stdout carries the result only; words and progress go to stderr. Nothing heavy is imported
before a command runs, so that --help answers at once.
"""

import sys
from typing import Annotated

import typer

from vostool import __version__
from vostool.cli.bench import bench
from vostool.cli.erf import erf
from vostool.cli.evaluate import evaluation
from vostool.cli.interrupts import Interrupted, InterruptibleGroup
from vostool.cli.segment import segment
from vostool.cli.spectrum import spectrum
from vostool.cli.train import train
from vostool.errors import InputError, VostoolError

app = typer.Typer(
    name="vostool",
    cls=InterruptibleGroup,
    help="Cut objects out of videos: a mask of the first frame in, masks of every frame out.",
    epilog="Exit codes: 0 done, 1 our fault, 2 usage, 3 bad input, 4 bad mask, 5 device or "
    "memory, 6 weights, 7 output exists, is in use or cannot be written, 8 broken plug-in model, "
    "9 warnings with --fail-on-warning, 130 interrupted, 143 terminated.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (segment, train, erf, spectrum, bench):
    app.command()(command)
app.add_typer(evaluation, name="eval")


def print_version(wanted: bool) -> None:
    """Answer --version."""
    if wanted:
        print(f"vostool {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main() -> None:
    """Run the command line; the one place that turns our errors into words and exit codes.

    Typer words wrong options itself (2); what nobody foresaw keeps its traceback (1).
    """
    try:
        app()
    except VostoolError as error:
        fail(str(error), error.exit_code)
    except Interrupted as error:
        fail(str(error), error.exit_code)
    except OSError as error:  # a path that even looking at fails: too long, or not ours to see
        fail(f"{error.filename or 'a file'}: {error.strerror or error}", InputError.exit_code)


def fail(words: str, code: int) -> None:
    """Say in one line what went wrong, and exit."""
    print(f"vostool: {' '.join(words.split())}", file=sys.stderr)
    sys.exit(code)
