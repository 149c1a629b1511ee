"""The command line: parse, call one function, report. The only code that prints and exits.

stdout carries the result only; messages and progress go to stderr. Nothing heavy is imported
before a command runs, so that --help and shell completion answer at once.
"""

import re
import sys
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

from vostool.cli.bench import bench
from vostool.cli.brief import brief
from vostool.cli.doctor import doctor
from vostool.cli.erf import erf
from vostool.cli.evaluate import evaluation
from vostool.cli.grouped_help import WIDTH, Commands
from vostool.cli.interrupts import Interrupted, InterruptibleGroup
from vostool.cli.mask import ShapesInOrder, mask
from vostool.cli.options import MASK_REMEDY
from vostool.cli.printing import (
    error_document,
    guarded_streams,
    is_given,
    library_warnings,
    one_line,
    print_json,
)
from vostool.cli.segment import NEEDED, segment
from vostool.cli.spectrum import spectrum
from vostool.cli.studio import studio
from vostool.cli.train import train
from vostool.cli.weights import weights
from vostool.errors import EXIT_CODES, InputError, OutputError, UsageError, VostoolError

# whatever Typer raises for a wrong command line; each release has its own module for it
TyperUsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = Commands(
    name="vostool",
    cls=InterruptibleGroup,
    help="Cut objects out of videos: a mask of the first frame in, masks of every frame out.",
    epilog=f"Exit codes: {', '.join(f'{code} {meaning}' for code, meaning in EXIT_CODES.items())}.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDTH},
)
app.command(cls=brief(*NEEDED))(segment)
app.command(cls=ShapesInOrder)(mask)
for command in (studio, train, erf, spectrum, bench, doctor):
    app.command()(command)
app.add_typer(evaluation, name="eval")
app.add_typer(weights, name="weights")


def print_version(wanted: bool) -> None:
    """Print the version and exit."""
    if wanted:
        from vostool import __version__

        print(f"vostool {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options before a command."""


def main() -> None:
    """Run the command line; the one place that turns exceptions into messages and exit codes.

    With --json a command that fails prints a JSON document too. Unforeseen exceptions keep
    their traceback (1).
    """
    with guarded_streams():
        run()


def run() -> None:
    """Run the command line with streams that are guarded."""
    try:
        refuse_empty_arguments()
        with library_warnings():
            code = app(prog_name="vostool", standalone_mode=False)
        sys.stdout.flush()  # or Python does so at its end, when it is too late to report
    except TyperUsageError as error:
        refuse(error)
    except VostoolError as error:
        fail(str(error), error.exit_code, type(error).__name__)
    except Interrupted as error:
        fail(str(error), error.exit_code, type(error).__name__)
    except OSError as error:  # a path that cannot even be examined: too long, or not permitted
        words = f"{error.filename or 'input or output'}: {error.strerror or error}"
        fail(words, InputError.exit_code, InputError.__name__)
    except Exception as error:
        if is_given("--json"):
            words = f"{type(error).__name__}: {error}"
            print_json(error_document(words, VostoolError.exit_code, "InternalError"))
        raise
    if code:
        sys.exit(code)


def refuse_empty_arguments() -> None:
    """Raise UsageError for an empty argument, as of an unset variable of a shell.

    As a path it would be the working directory.
    """
    before = "vostool"
    for argument in sys.argv[1:]:
        if argument == "" or re.fullmatch(r"--[\w-]+=", argument):
            raise UsageError(f"{argument or before}: expected a value, found an empty one")
        before = argument


def refuse(error: Exception) -> NoReturn:
    """Report a command line that Typer refuses, and exit."""
    from pydantic import ValidationError

    from vostool.files.documents import problem

    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()  # type: ignore[attr-defined]
        sys.exit(UsageError.exit_code)
    if isinstance(error.__cause__, ValidationError):
        error.message = problem(error.__cause__)  # type: ignore[attr-defined]
    words = error.format_message()  # type: ignore[attr-defined]
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    if parameter is not None and parameter.name == "mask" and words.startswith("Missing"):
        words = f"{words.rstrip('.')}: {MASK_REMEDY}"
    command = context.command_path if context else "vostool"
    fail(f"{words.rstrip('.')}; see {command} --help", UsageError.exit_code, UsageError.__name__)


def fail(message: str, code: int, kind: str) -> NoReturn:
    """Print an error as one line, and as a JSON document if requested, and exit."""
    print(f"vostool: {one_line(message)}", file=sys.stderr)
    with suppress(OutputError):  # this error came first
        if is_given("--json"):
            print_json(error_document(message, code, kind))
        sys.stdout.flush()
    sys.exit(code)
