import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fuzz.running import Case, run

CASE = Case("none", ("segment",), {"given.txt": b"as it was"})


def fail() -> None:
    raise ZeroDivisionError


def end(code: int, *lines: str) -> None:
    sys.stderr.writelines(f"{line}\n" for line in lines)
    sys.exit(code)


def write(name: str, content: str = "{") -> None:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(content)


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (fail, "exception: "),
        (lambda: end(1, "vostool: a bug"), "exit code 1: "),
        (lambda: end(77, "vostool: of no known kind"), "exit code 77: "),
        (lambda: end(3), "0 errors with exit code 3"),
        (lambda: end(3, "vostool: one", "vostool: two"), "2 errors with exit code 3"),
        (lambda: end(0, "vostool: but well"), "1 errors with exit code 0"),
        (lambda: end(3, "vostool: \x1b[31mred"), "a control character"),
        (lambda: end(3, "vostool: x", "Traceback (most recent call last)"), "a traceback"),
        (lambda: write("given.txt"), "outside of the output: above/here/given.txt"),
        (lambda: write("../escaped"), "outside of the output: above/escaped"),
        (lambda: write("out/run.json"), "not whole: run.json"),
        (lambda: write("out/masks.part"), "left in the output: masks.part"),
        (lambda: write("out/.claim"), "left in the output: .claim"),
    ],
)
def test_a_command_that_misbehaves_is_found_out(
    behaviour: Callable[[], None], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tests.fuzz.running.main", behaviour)
    found = run(CASE, tmp_path / "run").violations
    assert found
    assert found[0].startswith(words)


def test_a_thread_that_does_not_end_is_found_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    end = threading.Event()
    stuck = threading.Thread(target=end.wait)
    monkeypatch.setattr("tests.fuzz.running.main", stuck.start)
    monkeypatch.setattr("tests.fuzz.running.ENDING", 0.0)
    found = run(CASE, tmp_path / "run").violations
    end.set()
    stuck.join()
    assert found[-1].startswith("left: <Thread")


def test_a_command_that_behaves_has_no_violations(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tests.fuzz.running.main", lambda: write("out/run.json", "{}"))
    assert run(CASE, tmp_path / "run").violations == ()


def test_a_command_reads_the_file_that_arrives_on_stdin(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read: list[bytes] = []
    monkeypatch.setattr("tests.fuzz.running.main", lambda: read.append(sys.stdin.buffer.read()))
    case = replace(CASE, stdin="given.txt", damaged="given.txt", edit=lambda data: data[:3])
    assert run(case, tmp_path / "run").violations == ()
    assert read == [b"as "]


@pytest.mark.parametrize("arguments", [("segment", "-o", "-"), ("segment", "-o", "-", "--json")])
def test_a_command_that_succeeds_without_the_result_it_is_asked_for_is_found_out(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tests.fuzz.running.main", lambda: None)
    (found,) = run(replace(CASE, arguments=arguments), tmp_path / "run").violations
    assert found.startswith("stdout is no JSON" if "--json" in arguments else "no masks on stdout")
