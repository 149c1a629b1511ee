"""One command run in this process, and all that is wrong with how it ended.

What must hold whatever the input: a documented exit code; on failure one line on stderr; nothing
half-written; nothing changed outside of the output; no process or thread left; an answer in time.
"""

import gc
import io
import json
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

import vostool.cli.train
import vostool.evaluate.scoring
import vostool.inference.loading
from tests.conftest import ColourNetwork
from tests.evaluate.making import InlineExecutor
from tests.fuzz.edits import Edit
from tests.fuzz.traces import HERE, OUTPUT, broken, changed, snapshot
from vostool.cli import main
from vostool.errors import EXIT_CODES, VostoolError

PATIENCE = 20.0  # seconds that the processor may work for a command, however busy the machine is
ENDING = 120.0  # seconds that what a command has started may take to end
TOO_SLOW = "too slow"
FOLDER_MARK = b"@folder@"  # in files, stands for the folder that a command runs in
TOY = "toy.safetensors"  # weights in whose place objects are told by their colour


@dataclass(frozen=True)
class Case:
    """A command and the files in the folder that it runs in, by name; one of them is damaged."""

    kind: str
    arguments: tuple[str, ...]
    files: Mapping[str, bytes]
    damaged: str = ""
    edit: Edit = bytes
    stdin: str = ""  # the file that arrives on stdin, if any does

    def content(self, name: str) -> bytes:
        """Return the bytes of a file, damaged if it is the one."""
        return self.edit(self.files[name]) if name == self.damaged else self.files[name]


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what is wrong with that."""

    code: int  # -1: by an exception
    out: str
    err: str
    seconds: float
    folder: Path  # that it ran in
    violations: tuple[str, ...] = ()


@contextmanager
def stop_after_three_steps(folder: Path) -> Iterator[Callable[[], bool]]:
    """Have training end as by Ctrl-C: a damaged recipe may well ask for 10^12 steps."""
    count = 0

    def stop() -> bool:
        nonlocal count
        count += 1
        return count == 3

    yield stop


@contextmanager
def toys() -> Iterator[None]:
    """Replace what takes long: trained weights, processes that score, training to the end."""
    loading, scoring = vostool.inference.loading, vostool.evaluate.scoring
    real = loading.load_checkpoint  # type: ignore[attr-defined]

    def load_toy(path: Path, *more: Any) -> Any:
        return ColourNetwork() if path.name == TOY else real(path, *more)

    with ExitStack() as stack:
        for module, name, toy in (
            (loading, "load_checkpoint", load_toy),
            (scoring, "ProcessPoolExecutor", InlineExecutor),
            (sys.modules["vostool.cli.train"], "stop_signals", stop_after_three_steps),
        ):
            stack.enter_context(patch.object(module, name, toy))
        yield


@contextmanager
def captured(folder: Path) -> Iterator[Callable[[], tuple[str, str]]]:
    """Give a function that returns what was printed, by libraries of C too."""
    files = [(folder / name).open("w+b", buffering=0) for name in ("stdout", "stderr")]
    kept = [os.dup(number) for number in (1, 2)]
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for number, file in zip((1, 2), files, strict=True):
        os.dup2(file.fileno(), number)
    texts = [io.TextIOWrapper(file, "utf-8", write_through=True) for file in files]

    def read() -> tuple[str, str]:
        out, err = ((folder / name).read_text("utf-8", "replace") for name in ("stdout", "stderr"))
        return out, err

    try:
        with patch.object(sys, "stdout", texts[0]), patch.object(sys, "stderr", texts[1]):
            yield read
    finally:
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        for text in texts:
            text.close()


@contextmanager
def fed(path: Path) -> Iterator[None]:
    """Let a file arrive on stdin."""
    with path.open(encoding="utf-8") as file, patch.object(sys, "stdin", file):
        yield


def write_case(case: Case, root: Path) -> Path:
    """Write the files of a case somewhere below a folder, and return where it is to run."""
    folder = root / HERE
    folder.mkdir(parents=True)
    (root / "temporary").mkdir()
    for name in case.files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case.content(name).replace(FOLDER_MARK, str(folder).encode()))
    return folder


def run(case: Case, root: Path) -> Outcome:
    """Run a command in a new folder below `root`."""
    root.mkdir()
    folder = write_case(case, root)
    before, given = snapshot(root), snapshot(folder / OUTPUT)
    threads, others = set(threading.enumerate()), multiprocessing.active_children()
    back = Path.cwd()
    log = Path(tempfile.mkdtemp(prefix="vostool-fuzz-"))
    started, problem = time.process_time(), ""
    feed = fed(folder / case.stdin) if case.stdin else nullcontext()
    # where PyTorch may make a folder of its own
    caches = patch.dict(os.environ, {"TORCHINDUCTOR_CACHE_DIR": str(log)})
    with toys(), captured(log) as read, feed, caches:
        os.chdir(folder)
        try:
            with patch.object(tempfile, "tempdir", str(root / "temporary")):
                code = call(case.arguments)
        except BaseException:
            code, problem = -1, traceback.format_exc()
        finally:
            os.chdir(back)
        out, err = read()
    seconds = time.process_time() - started
    shutil.rmtree(log)
    violations = [
        *([f"exception: {problem}"] if problem else wrong_words(case, code, out, err)),
        *([TOO_SLOW] if seconds > PATIENCE else []),
        *(f"outside of the output: {name}" for name in changed(before, snapshot(root))),
        *broken(folder / OUTPUT, given, code),
        *left(threads, others),
    ]
    return Outcome(code, out, err, seconds, folder, tuple(violations))


def call(arguments: tuple[str, ...]) -> int:
    """Run the command line, and return its exit code."""
    with patch.object(sys, "argv", ["vostool", *arguments]):
        try:
            main()
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def wrong_words(case: Case, code: int, out: str, err: str) -> list[str]:
    """Return what is wrong with an exit code and what was printed with it."""
    found = []
    if code not in EXIT_CODES or code == VostoolError.exit_code:
        found.append(f"exit code {code}")
    lines = err.split("\n")[:-1]
    errors = [line for line in lines if line.startswith("vostool: ")]
    batch = "--batch" in case.arguments
    if bool(code) != bool(errors) or (len(errors) > 1 and not batch):
        found.append(f"{len(errors)} errors with exit code {code}")
    if any(not one.replace("\u3000", " ").isprintable() for one in errors):
        found.append("a control character on stderr")
    if "Traceback" in err or "internal error" in err:
        found.append("a traceback")
    if re.search(r"\.py:\d+: \w*Warning", err):
        found.append("a warning of a library with its source")
    if "--quiet" in case.arguments and lines != errors:
        found.append("words in spite of --quiet")
    found += wrong_result(case, code, out)
    return [f"{each}: {out[-300:]!r} {err[-3000:]!r}" for each in found]


def wrong_result(case: Case, code: int, out: str) -> list[str]:
    """Return what is wrong with what was printed on stdout."""
    if "--json" in case.arguments:
        try:
            json.loads(out, parse_constant=lambda name: 1 / 0)
        except (ValueError, ZeroDivisionError):
            return ["stdout is no JSON document"]
    elif is_piped(case):
        if code in (0, 9) and not out.startswith("YUV4MPEG2"):
            return ["no masks on stdout"]
    elif code not in (0, 9) and out and "--batch" not in case.arguments:
        return ["a result on stdout although it failed"]
    return []


def is_piped(case: Case) -> bool:
    """Return whether masks go to stdout, as they come."""
    return ("-o", "-") in pairwise(case.arguments)


def left(threads: set[threading.Thread], others: Collection[BaseProcess]) -> list[str]:
    """Return the threads and processes that have not ended some time later."""
    end = time.monotonic() + ENDING
    while True:
        more = set(threading.enumerate()) - threads
        processes = set(multiprocessing.active_children()) - set(others)
        if not more and not processes:
            return []
        if time.monotonic() > end:
            return [f"left: {each}" for each in (*more, *processes)]
        gc.collect()
        time.sleep(0.02)
