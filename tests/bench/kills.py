"""Kill segment, batch and eval at random moments; is what remains whole, and soon made complete?

    python -m tests.bench.kills --kills 40 --seed 1
    python -m tests.bench.kills --kills 20 --seed 1 --only segment --frames 60 [--move]

Each run gets SIGINT, SIGTERM or SIGKILL after a random part of the time that an undisturbed one
takes. Lost: a file that is not whole under its final name, or differs from the undisturbed run's.
Unfinished: the same command (for segment with --resume) does not then end with code 0 and the
very files of the undisturbed run; with --move, after what is left was moved to another folder.
Repeated: it follows frames again that a state was left of. Left behind: a process that lives on.
Needs fork.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.conftest import ARRIVAL, TINY, film
from tests.evaluate.making import write_davis16
from vostool.cli import main as run_command
from vostool.files.claims import CLAIM
from vostool.inference import states
from vostool.media.masks import write_mask
from vostool.media.video import read_frames
from vostool.model.checkpoint import save_checkpoint
from vostool.model.stm import Stm

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
CODES = {signal.SIGINT: (0, 130), signal.SIGTERM: (0, 143, -15), signal.SIGKILL: (0, -9)}
STATUS = ("running", "interrupted", "done")
PATIENCE = 600.0  # seconds for a run to end, on a busy machine
# with the times that a run took, or what is drawn from them
TIMED = ("run.json", "batch.json", "results.json", "report.html")
GROWING = ("check.csv",)  # tables that hold what was done so far, as run.json does


@dataclass(frozen=True)
class Case:
    """A command, what it takes to do it again, and its undisturbed run."""

    name: str
    arguments: tuple[str, ...]
    again: tuple[str, ...]  # what is added to the command
    folder: Path
    seconds: float = 0.0
    whole: Path = Path()


@dataclass(frozen=True)
class Verdict:
    """What came of a kill."""

    lost: tuple[str, ...]
    unfinished: tuple[str, ...]
    repeated: tuple[str, ...]
    left: tuple[str, ...]


def apart(work: Callable[[], list[str]]) -> list[str]:
    """Return what a function returns in a process of its own.

    This process must not start threads, as codecs do: what is forked from it would miss them.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            result = work()
        except Exception as error:
            result = [f"{type(error).__name__}: {error}"]
        os.write(writer, json.dumps(result).encode()[:60000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    return json.loads(content)


def begin(arguments: Sequence[str], log: Path) -> int:
    """Run a command in a process and session of its own; return the process's id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.modules["__main__"] = ModuleType("__main__")  # or workers would import this one
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(output, stream)
        sys.argv = ["vostool", *arguments]
        try:
            run_command()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        except KeyboardInterrupt:  # before there is anything to interrupt
            code = 130
    finally:
        os._exit(code)


def wait(process: int) -> int | None:
    """Return how a process ended, negative for a signal; None if it does not in good time."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return None


def session(leader: int) -> list[str]:
    """Return the commands of the processes that live in a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if fields[0] != "Z" and int(fields[3]) == leader:
                found.append(stat.with_name("cmdline").read_text().replace("\0", " ").strip())
    return found


def left_behind(leader: int, seconds: float = 120.0) -> list[str]:
    """Return the processes of a session that are still there after some seconds."""
    end = time.monotonic() + seconds
    while (found := session(leader)) and time.monotonic() < end:
        time.sleep(0.1)
    for _ in found:
        with suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)
    return found


def broken(case: Case, number: int) -> list[str]:
    """Return the files under final names that are not whole, or not as they should be."""
    found = []
    for path in sorted(case.folder.rglob("*")):
        name = str(path.relative_to(case.folder))
        whole = case.whole / name
        hidden = path.name.startswith(".") or states.FOLDER in path.parts
        if path.is_dir() or "part" in path.name or hidden:
            continue
        try:
            if path.suffix == ".json":
                status = json.loads(path.read_text()).get("status", "done")
                if status not in STATUS or (number != signal.SIGKILL and status == "running"):
                    found.append(f"{name}: status {status}")
            elif path.suffix == ".png":
                Image.open(path).load()
            elif path.suffix == ".mp4":
                list(read_frames(path))
            if path.name in TIMED:
                continue
            ours, theirs = path.read_bytes(), whole.read_bytes()
            if not (theirs.startswith(ours) if path.name in GROWING else ours == theirs):
                found.append(f"{name}: other bytes")
        except Exception as error:
            found.append(f"{name}: {error}")
    return found


def is_done(folder: Path) -> bool:
    """Return whether a run was finished before it was killed."""
    report = folder / "run.json"
    return report.exists() and read_json(report)["status"] == "done"


def differences(folder: Path, whole: Path) -> list[str]:
    """Return in what a folder differs from that of an undisturbed run."""
    ours, theirs = (
        {
            str(path.relative_to(each)): path
            for path in each.rglob("*")
            if path.is_file() and states.FOLDER not in path.parts
        }
        for each in (folder, whole)
    )
    found = [f"{name}: not in both" for name in sorted(ours.keys() ^ theirs.keys())]
    same = sorted(name for name in ours.keys() & theirs.keys() if Path(name).name not in TIMED)
    other = [name for name in same if ours[name].read_bytes() != theirs[name].read_bytes()]
    return [*found, *(f"{name}: other bytes" for name in other)]


def states_left(case: Case) -> dict[str, int]:
    """Return after how many frames the latest state of each unfinished video is, by its folder."""
    found: dict[str, int] = {}
    for path in case.folder.rglob(f"{states.FOLDER}/*{states.SUFFIX}"):
        video = path.parent.parent
        if case.name == "eval" or not is_done(video):
            name = str(video.relative_to(case.folder))
            found[name] = max(found.get(name, 0), int(path.stem))
    return found


def repeated(case: Case, left: Mapping[str, int]) -> list[str]:
    """Return the videos that were not gone on with from the latest state, once all are done."""
    found = []
    for name, state in left.items():
        if case.name == "eval":
            entry = read_json(case.folder / "run.json")["done"][Path(name).name]
            frames, followed = entry["frames"], entry["timed"]
        else:
            report = read_json(case.folder / name / "run.json")
            frames, followed = report["frames"], report["seconds"]["frames"]
        if followed != frames - state:
            found.append(f"{name}: {followed} of {frames} frames followed after state {state}")
    return found


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def undisturbed(case: Case) -> Case:
    """Return a case with its undisturbed run."""
    log = case.folder.with_suffix(".log")
    since = time.monotonic()
    code = wait(begin(case.arguments, log))
    if code != 0:
        raise RuntimeError(f"{case.name}: exit {code}: {log.read_text()}")
    whole = case.folder.with_name(f"{case.folder.name}-whole")
    seconds = time.monotonic() - since
    case.folder.rename(whole)
    return Case(case.name, case.arguments, case.again, case.folder, seconds, whole)


def kill(case: Case, number: signal.Signals, delay: float, move: bool = False) -> Verdict:
    """Kill a run, look at what remains, move it perhaps, and do it again."""
    log = case.folder.with_suffix(".log")
    shutil.rmtree(case.folder, ignore_errors=True)
    process = begin(case.arguments, log)
    time.sleep(delay)
    with suppress(ProcessLookupError):
        os.kill(process, number)
    code = wait(process)
    left = left_behind(process)
    lost = apart(lambda: broken(case, number))
    if code not in CODES[number]:
        lost.append(f"exit {code}: {log.read_text()[-500:]}")
    if case.name == "eval" and is_done(case.folder):  # as it would say, with code 7
        (case.folder / CLAIM).unlink(missing_ok=True)  # void, of no other meaning
        return Verdict(tuple(lost), tuple(differences(case.folder, case.whole)), (), tuple(left))
    latest = states_left(case)
    case = moved(case) if move else case
    code = wait(begin((*case.arguments, *case.again), log))
    unfinished = [] if code == 0 else [f"exit {code}: {log.read_text()[-500:]}"]
    unfinished += differences(case.folder, case.whole)
    again = repeated(case, latest) if code == 0 else []
    return Verdict(tuple(lost), tuple(unfinished), tuple(again), tuple(left))


def moved(case: Case) -> Case:
    """Move a case's folder, if it is there; return the case with the new one."""
    folder = case.folder.with_name(f"{case.folder.name}-moved")
    shutil.rmtree(folder, ignore_errors=True)
    if case.folder.exists():
        case.folder.rename(folder)
    places = {str(case.folder): str(folder)}
    arguments = tuple(places.get(each, each) for each in case.arguments)
    return replace(case, arguments=arguments, folder=folder)


def make_inputs(folder: Path, frames: int) -> list[str]:
    """Write clips, a table, a benchmark and weights."""
    torch.manual_seed(0)
    save_checkpoint(folder / "w.safetensors", Stm(TINY).eval(), {})
    two = film(folder / "clip.mp4", folder / "clip.png", frames, two=True)
    write_mask(folder / "late.png", np.where(two.labels[ARRIVAL] == 2, np.uint8(2), np.uint8(0)))
    rows = [f"clip.mp4,clip.png,{name}\n" for name in "abc"]
    (folder / "t.csv").write_text("video,mask,output\n" + "".join(rows))
    write_davis16(folder / "set", "a", "b", "c")
    return []


def cases(folder: Path) -> list[Case]:
    """Return the commands to kill."""
    weights = folder / "w.safetensors"
    more = ("--weights", str(weights), "--device", "cpu", "--size", "64", "--precision", "fp32")
    one, all_, run = folder / "one", folder / "all", folder / "run"
    masks = (str(folder / "clip.png"), f"{ARRIVAL}:{folder / 'late.png'}")
    clip = (str(folder / "clip.mp4"), *(each for mask in masks for each in ("--mask", mask)))
    correction = ("--gc-every", "5", "--gc-iters", "2")
    segment = ("segment", *clip, *correction, "--cutouts", "-o", str(one))
    batch = ("segment", "--batch", str(folder / "t.csv"), "-o", str(all_))
    evaluate = ("eval", "davis16", str(folder / "set"), "-o", str(run))
    return [
        Case("segment", (*segment, *more), ("--resume",), one),
        Case("batch", (*batch, *more), (), all_),
        Case("eval", (*evaluate, *more), (), run),
    ]


def main() -> int:
    """Kill as often as asked for; return 1 if anything was lost, unfinished or left behind."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=8, help="of the clips")
    parser.add_argument("--only", help="one of the cases")
    parser.add_argument("--move", action="store_true", help="what is left, before it is done again")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    states.INTERVAL, states.SPACING = 0.0, 4  # these clips take no time
    chance = random.Random(arguments.seed)
    totals = {"lost": 0, "unfinished": 0, "repeated": 0, "left": 0}
    with TemporaryDirectory(prefix="vostool-kills-") as folder:
        apart(lambda: make_inputs(Path(folder), arguments.frames))
        wanted = [each for each in cases(Path(folder)) if arguments.only in (None, each.name)]
        ready = [undisturbed(case) for case in wanted[: arguments.kills]]
        for count in range(arguments.kills):
            case = ready[count % len(ready)]
            number = SIGNALS[(count // len(ready) + count) % len(SIGNALS)]
            delay = chance.uniform(0, case.seconds)
            verdict = kill(case, number, delay, arguments.move)
            found = {name: list(getattr(verdict, name)) for name in totals}
            for name, faults in found.items():
                totals[name] += bool(faults)
            words = ", ".join(f"{name} {faults}" for name, faults in found.items() if faults)
            print(f"{case.name} {number.name} after {delay:.2f} s: {words or 'well'}", flush=True)
    print(
        f"{arguments.kills} kills, seed {arguments.seed}: {totals['lost']} lost, "
        f"{totals['unfinished']} unfinished, {totals['repeated']} repeated, "
        f"{totals['left']} left behind"
    )
    return int(any(totals.values()))


if __name__ == "__main__":
    sys.exit(main())
