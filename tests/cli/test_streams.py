"""What a command does when nobody reads what it prints, or the disk that takes it is full."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vostool.cli.printing import GuardedStream
from vostool.errors import OutputError

FULL = Path("/dev/full")  # every write to it fails
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
RESULT, FAILURE = "--version", "mask none.mp4 --ellipse 1:4,26,16,16 --json"
TO_FULL_DISK = "> /dev/full"


def shell(arguments: str, then: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a shell that sends its output somewhere."""
    script = f'"{sys.executable}" -m vostool {arguments} {then}'
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)


@needs_full
def test_a_result_that_the_disk_has_no_space_for_is_an_output_error_of_one_line() -> None:
    ended = shell(RESULT, TO_FULL_DISK)
    assert ended.returncode == OutputError.exit_code
    assert ended.stderr == "vostool: stdout: cannot be written: No space left on device\n"


def test_a_result_whose_reader_has_gone_is_an_output_error_of_one_line() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "vostool", RESULT]
    with os.fdopen(writing, "wb") as pipe:
        ended = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == OutputError.exit_code
    assert ended.stderr == "vostool: stdout: cannot be written: Broken pipe\n"


@needs_full
def test_an_error_keeps_its_code_if_its_json_document_cannot_be_printed() -> None:
    ended = shell(FAILURE, TO_FULL_DISK)
    assert ended.returncode == 3
    assert ended.stderr.startswith("vostool: none.mp4")
    assert ended.stderr.count("\n") == 1


@needs_full
@pytest.mark.parametrize("then", ["2> /dev/full", "2>&-"])
def test_a_message_that_nobody_can_read_changes_neither_code_nor_stdout(then: str) -> None:
    ended = shell(FAILURE, then)
    assert ended.returncode == 3
    assert ended.stdout.startswith('{"error": "none.mp4')
    assert ended.stdout.count("\n") == 1


class Broken(io.StringIO):
    """A stream whose reader is gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_guarded_stream_fails_with_an_output_error() -> None:
    with pytest.raises(OutputError, match="stdout: cannot be written: Broken pipe"):
        GuardedStream(Broken(), "stdout").write("a result")


def test_a_guarded_stream_of_messages_goes_on_without_its_reader() -> None:
    stream = GuardedStream(Broken(), "stderr", ignore=True)
    assert stream.write("a message") == len("a message")
    stream.flush()
    assert not stream.isatty()
