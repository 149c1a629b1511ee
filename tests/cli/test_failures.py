"""What a failing command prints: one line, an exit code, and with --json a document."""

import io
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from rich.console import Console

from tests.conftest import ColourNetwork, Footage, interrupt
from tests.evaluate.test_compare import results
from tests.test_cli import Call, segment, vostool  # noqa: F401
from vostool.cli.printing import one_line
from vostool.errors import EXIT_CODES

NOT_THERE = "none.mp4"


def write_results(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    run = results({name: [0.5] for name in names})
    (folder / "results.json").write_text(run.model_dump_json())
    return folder


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (("segment", NOT_THERE, "--mask", "m.png"), 3, "InputError"),
        (("segment", "--mask", "m.png"), 2, "UsageError"),
        (("segment", "--colour", "red"), 2, "UsageError"),
        (("segment", NOT_THERE, "--start", "-1"), 2, "UsageError"),
        (("segment", NOT_THERE, "--mask", "m.png", "--memory", "foo"), 2, "UsageError"),
        (("segment", NOT_THERE, "--mask", "m.png", "--model", "nope"), 8, "ContractError"),
        (("segment", NOT_THERE, "--mask", "m.png", "--weights", "w.st"), 6, "WeightsError"),
        (("erf", NOT_THERE), 2, "UsageError"),
        (("erf", NOT_THERE, "--mask", "m.png", "--device", "tpu"), 2, "UsageError"),
        (("spectrum", NOT_THERE), 3, "InputError"),
        (("bench", NOT_THERE), 3, "InputError"),
        (("eval", "davis17", "none"), 3, "InputError"),
        (("eval", "davis17"), 2, "UsageError"),
        (("eval", "compare", "a", "b"), 3, "InputError"),
        (("eval", "compare", "n" * 300, "b"), 3, "InputError"),
        (("cut",), 2, "UsageError"),
    ],
)
@pytest.mark.parametrize("place", ["first", "last"])
def test_a_failing_command_with_json_prints_one_document_on_stdout(
    arguments: tuple[str, ...], code: int, kind: str, place: str, vostool: Call  # noqa: F811
) -> None:  # fmt: skip
    flag = ("--json",)
    command, rest = arguments[:1], arguments[1:]
    if arguments[0] == "eval":
        command, rest = arguments[:2], arguments[2:]
    given = (*command, *flag, *rest) if place == "first" else (*command, *rest, *flag)
    outcome = vostool(*given)
    assert outcome.code == code
    document = json.loads(outcome.out)
    assert set(document) == {"error", "exit_code", "kind"}
    assert (document["exit_code"], document["kind"]) == (code, kind)
    assert outcome.err == f"vostool: {document['error']}\n"
    assert not list(Path.cwd().iterdir())


def test_a_failing_command_without_json_prints_nothing_on_stdout(
    vostool: Call,  # noqa: F811
) -> None:
    outcome = vostool("segment", "--mask", "m.png")
    assert (outcome.code, outcome.out) == (2, "")
    after = vostool("eval", "compare", "a", "--", "--json")  # a folder of that name
    assert (after.code, after.out) == (3, "")


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--cuts", "WRONG", "expected one of 'ignore', 'stop', 'reset', found 'WRONG'"),
        ("--progress", "xml", "expected one of 'auto', 'json', found 'xml'"),
        ("--memory-frames", "few", "expected a valid integer, found 'few'"),
        ("--opacity", "3", "expected less than or equal to 1, found"),
    ],
)
def test_a_wrong_value_of_an_option_is_refused_by_what_is_expected_and_what_was_found(
    option: str, value: str, expected: str, vostool: Call  # noqa: F811
) -> None:  # fmt: skip
    outcome = vostool("segment", NOT_THERE, "--mask", "m.png", option, value)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"vostool: Invalid value for '{option}': {expected}")
    assert outcome.err.endswith("; see vostool segment --help\n")


def test_an_interrupted_command_with_json_prints_a_document(
    segment: Call,  # noqa: F811
    video: Footage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = ColourNetwork(4, interrupt)
    monkeypatch.setattr("vostool.inference.loading.load_checkpoint", lambda *_: network)
    outcome = segment(video.path, "--mask", video.mask, "--json")
    assert outcome.code == 130
    assert json.loads(outcome.out)["exit_code"] == 130
    assert "vostool: interrupted: the first 4 frames of " in outcome.err


def test_an_unforeseen_exception_with_json_prints_a_document_and_keeps_its_traceback(
    segment: Call,  # noqa: F811
    video: Footage,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("a bug")

    network = ColourNetwork(2, fail)
    monkeypatch.setattr("vostool.inference.loading.load_checkpoint", lambda *_: network)
    with pytest.raises(ZeroDivisionError):
        segment(video.path, "--mask", video.mask, "--json")
    document = json.loads(capsys.readouterr().out)
    assert document == {
        "error": "ZeroDivisionError: a bug",
        "exit_code": 1,
        "kind": "InternalError",
    }
    assert EXIT_CODES[1] == "internal error"


def test_a_batch_with_json_prints_one_array_with_the_errors_in_their_places(
    segment: Call,  # noqa: F811
    video: Footage,
    tmp_path: Path,
) -> None:
    table = tmp_path / "jobs.csv"
    table.write_text(f"video,mask\n{NOT_THERE},{video.mask}\n{video.path},{video.mask}\n")
    outcome = segment("--batch", table, "-o", tmp_path / "all", "--json", "--quiet")
    failed, done = json.loads(outcome.out)
    assert outcome.code == failed["exit_code"] == 3
    assert failed["kind"] == "InputError"
    assert failed["video"].endswith(NOT_THERE)
    assert done["status"] == "done"


def test_a_batch_on_a_terminal_prints_its_paths_on_stdout(
    segment: Call,  # noqa: F811
    video: Footage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=100)
    monkeypatch.setattr("vostool.progress.make_console", lambda: terminal)
    table = tmp_path / "jobs.csv"
    table.write_text(f"video,mask\n{video.path},{video.mask}\n")
    outcome = segment("--batch", table, "-o", tmp_path / "all")
    folder = tmp_path / "all" / "square"
    assert outcome.out.splitlines() == [str(folder / "masks"), str(folder / "overlay.mp4")]
    assert "masks" not in screen.getvalue()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("options", "lines"), [((), ["warning: a damaged tag"]), (("--quiet",), []), (("-q",), [])]
)
def test_what_a_library_warns_of_is_one_line_and_none_with_quiet(
    options: tuple[str, ...],
    lines: list[str],
    segment: Call,  # noqa: F811
    video: Footage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = ColourNetwork(2, lambda: warnings.warn("a damaged\ntag", stacklevel=1))
    monkeypatch.setattr("vostool.inference.loading.load_checkpoint", lambda *_: network)
    outcome = segment(video.path, "--mask", video.mask, *options)
    assert outcome.code == 0
    assert [line for line in outcome.err.splitlines() if " frames, " not in line] == lines


@pytest.mark.parametrize("command", ["segment", "erf", "spectrum", "bench"])
def test_without_a_mask_the_message_says_how_one_is_made(
    command: str,
    vostool: Call,  # noqa: F811
    video: Footage,
) -> None:
    outcome = vostool(command, video.path)
    assert (outcome.code, outcome.out) == (2, "")
    assert "--mask" in outcome.err
    assert "vostool mask VIDEO --frame-only" in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("command", ["segment", "spectrum", "bench"])
def test_a_missing_video_without_a_mask_is_reported_as_missing(
    command: str,
    vostool: Call,  # noqa: F811
) -> None:
    outcome = vostool(command, NOT_THERE)
    assert (outcome.code, outcome.err) == (3, f"vostool: {NOT_THERE}: no such file or folder\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--memory", "foo:"), "--memory foo:: expected 'stm', 'kmn' or 'gcm'"),
        (("--reference", "foo:"), "--reference foo:: expected 'first', 'previous'"),
        (("--kernel-sigma", "0"), "--kernel-sigma 0.0: expected greater than 0"),
        (("--gc-every", "5", "--gc-stop", "2"), "--gc-stop 2.0: expected less than 1"),
        (("--memory-frames", "1"), "--memory-frames"),
    ],
)
def test_a_message_names_an_option_as_it_is_typed(
    arguments: tuple[str, ...],
    words: str,
    vostool: Call,  # noqa: F811
    video: Footage,
) -> None:
    outcome = vostool("segment", video.path, "--mask", video.mask, *arguments)
    assert outcome.code == 2
    assert words in outcome.err


def test_a_wrong_command_line_is_reported_in_one_line_with_the_help_to_read(
    vostool: Call,  # noqa: F811
) -> None:
    outcome = vostool("segment", "video.mp4", "--colour", "red")
    assert outcome.err.startswith("vostool: No such option")  # as Typer words it
    assert "--colour" in outcome.err
    assert outcome.err.endswith("; see vostool segment --help\n")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "name"), [(("-o", ""), "-o"), (("--output=",), "--output="), (("",), "m.png")]
)
def test_an_empty_argument_is_refused_and_not_taken_for_the_working_directory(
    arguments: tuple[str, ...],
    name: str,
    vostool: Call,  # noqa: F811
) -> None:
    outcome = vostool("segment", "--mask", "m.png", *arguments)
    assert outcome.code == 2
    assert outcome.err == f"vostool: {name}: expected a value, found an empty one\n"


def test_without_a_command_the_help_is_printed(vostool: Call) -> None:  # noqa: F811
    outcome = vostool()
    assert outcome.code == 2
    assert "Usage: vostool" in outcome.out + outcome.err


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("two\nlines", "two lines"),
        ("  a  b.mp4: [red]x[/red]", "a  b.mp4: [red]x[/red]"),
        ("tab\there \x1b[31mred", r"tab\there \x1b[31mred"),
        ("n\u00f6\u3000\U0001f600", "n\u00f6\u3000\U0001f600"),
        ("\udcff", r"\udcff"),
    ],
)
def test_a_message_is_one_line_with_names_as_they_are(text: str, line: str) -> None:
    assert one_line(text) == line


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "vostool", *arguments],
        capture_output=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )


def test_characters_that_stdout_cannot_encode_are_escaped(tmp_path: Path) -> None:
    one, two = (write_results(tmp_path / name, "\u00f6", "b") for name in ("\u00e4", "two"))
    ascii_only = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "LC_ALL": "C.UTF-8"}
    done = run("eval", "compare", str(one), str(two), **ascii_only)
    assert done.returncode == 0, done.stderr
    assert rb"\xe4" in done.stdout
    failed = run("eval", "compare", str(tmp_path / "\u00fc"), str(two), **ascii_only)
    assert failed.returncode == 3
    assert rb"\xfc" in failed.stderr


def test_a_comparison_shows_names_with_brackets_as_they_are(
    vostool: Call,  # noqa: F811
    tmp_path: Path,
) -> None:
    name = "[red]x[/red]"
    one = write_results(tmp_path / "[b]one", name)
    outcome = vostool("eval", "compare", one, one)
    assert f"first run: {one}" in outcome.out
    assert name in outcome.out
    assert "one clip alone gives no interval" in outcome.err
    document = json.loads(vostool("eval", "compare", one, one, "--json").out)
    assert document["warnings"] == ["one clip alone gives no interval"]
    assert (document["first"], document["second"]) == (str(one), str(one))
