"""Give the command line damaged files by the thousand; does it always end as it should?

    python -m tests.bench.fuzz --examples 1000 --seed 1

Every example is a command in a process of its own; see `tests.fuzz.running` for what must hold.
Here it also must not crash, hang, or take more than 1 GB. The files of an example that fails are
kept, and `python -m tests.bench.fuzz --again FOLDER` runs it once more. Needs fork.
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.bench.kills import apart, left_behind
from tests.fuzz.cases import EARLIER, Base, make_base, read_base, read_files
from tests.fuzz.kinds import KINDS
from tests.fuzz.running import PATIENCE, Case, run

MEMORY = 10**9  # bytes that a command may take
IMPORTS = 400 * 10**6  # of these, what Python, PyTorch and PyAV take before it begins
HANG = 3 * PATIENCE  # seconds until a process is killed
# imported before any fork, so that no child has to
USED_BY_COMMANDS = (
    "PIL.TiffImagePlugin",
    "pycocotools.mask",
    "torch.utils.tensorboard",
    "vostool.analysis.erf",
    "vostool.analysis.spectrum",
    "vostool.evaluate.compare",
    "vostool.evaluate.predict",
    "vostool.evaluate.run",
    "vostool.segment.demo",
    "vostool.segment.run",
    "vostool.train.loop",
)


def in_child(root: Path, case: Case) -> dict[str, Any]:
    """Run a case in a process of its own; return its code, seconds, bytes and violations.

    This process must not start threads, as codecs do: what is forked from it would miss them.
    """
    answer = root.with_name(f"{root.name}.json")
    _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text().split())
    own = (resident - shared) * os.sysconf("SC_PAGE_SIZE")  # what a child has from the beginning
    child = os.fork()
    if not child:
        os.setsid()
        signal.alarm(round(HANG))  # kills it
        outcome = run(case, root)
        ended = {"code": outcome.code, "seconds": outcome.seconds, "err": outcome.err[-2000:]}
        answer.write_text(json.dumps({**ended, "violations": outcome.violations}))
        os._exit(0)
    _, status, usage = os.wait4(child, 0)
    taken = usage.ru_maxrss * 1024 - own + IMPORTS
    code = os.waitstatus_to_exitcode(status)
    words = "hung" if code == -signal.SIGALRM else f"crashed with {code}"
    found: dict[str, Any] = {"code": code, "seconds": 0.0, "violations": [words]}
    if answer.exists():
        found = json.loads(answer.read_text())
        answer.unlink()
    if taken > MEMORY:
        found["violations"].append(f"took {taken / 1e6:.0f} MB")
    found["violations"] += [f"left: {each}" for each in left_behind(child)]
    return {**found, "bytes": taken}


def keep(case: Case, folder: Path, found: dict[str, Any]) -> None:
    """Write a case so that `again` can read it."""
    for name in case.files:
        path = folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case.content(name))
    document = {"kind": case.kind, "arguments": case.arguments, "stdin": case.stdin, **found}
    (folder / "case.json").write_text(json.dumps(document, indent=1))


def again(folder: Path) -> int:
    """Run a case that was kept, and print how it ends."""
    document = json.loads((folder / "case.json").read_text())
    files = read_files(folder / "files")
    arguments = tuple(document["arguments"])
    case = Case(document["kind"], arguments, files, stdin=document["stdin"])
    with TemporaryDirectory(prefix="vostool-fuzz-") as root:
        found = in_child(Path(root) / "again", case)
    print(shlex.join(["vostool", *case.arguments]), f"< {case.stdin}" * bool(case.stdin))
    print(f"exit code {found['code']}\n{found.get('err', '')}", *found["violations"], sep="\n")
    return int(bool(found["violations"]))


@dataclass
class Tally:
    """What came of all examples so far."""

    kept: Path
    codes: dict[str, Counter[int]] = field(default_factory=dict)
    violations: int = 0
    longest: float = 0.0
    most: int = 0

    def add(self, case: Case, found: dict[str, Any]) -> None:
        """Count an example; print and keep it if it failed."""
        self.codes.setdefault(case.kind, Counter())[found["code"]] += 1
        self.longest = max(self.longest, found["seconds"])
        self.most = max(self.most, found["bytes"])
        if found["violations"]:
            folder = self.kept / f"{self.violations:04d}-{case.kind}"
            self.violations += 1
            keep(case, folder, found)
            last = "; ".join(str(each).strip().splitlines()[-1] for each in found["violations"])
            print(f"{folder}: {last}\n  {shlex.join(case.arguments)}", flush=True)

    @property
    def table(self) -> str:
        """The number of examples by kind and exit code."""
        every = sorted({code for codes in self.codes.values() for code in codes})
        rows = [["kind", *every, "all"]]
        for kind, codes in sorted(self.codes.items()):
            rows.append([kind, *(codes[code] or "" for code in every), codes.total()])
        total = sum(self.codes.values(), Counter[int]())
        rows.append(["all", *(total[code] for code in every), total.total()])
        return "\n".join("".join(f"{cell!s:>11}" for cell in row) for row in rows)


def fuzz(base: Base, kind: str, examples: int, number: int, tally: Tally) -> None:
    """Run examples of a kind, drawn from a seed."""

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(KINDS[kind](base))
    def check(case: Case) -> None:
        with TemporaryDirectory(prefix="vostool-fuzz-") as root:
            tally.add(case, in_child(Path(root) / "run", case))

    check()


def main() -> int:
    """Run as many examples as asked for; return 1 if one ended as none should."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=sorted(KINDS), help="all, if not given")
    parser.add_argument("--again", type=Path, help="run the example kept in a folder")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in USED_BY_COMMANDS:
        import_module(name)
    if arguments.again:
        return again(arguments.again)
    kept, since = Path(mkdtemp(prefix="vostool-fuzz-kept-")), time.monotonic()
    tally = Tally(kept)
    with TemporaryDirectory(prefix="vostool-fuzz-") as folder:
        made = apart(partial(make_base, Path(folder)))
        if made != list(EARLIER):
            raise RuntimeError(made)
        base = read_base(Path(folder))
        kinds = arguments.kind or list(KINDS)
        for number, kind in enumerate(kinds):
            share = (arguments.examples + number) // len(kinds)
            fuzz(base, kind, share, arguments.seed, tally)
            print(f"{kind}: done", flush=True)
    print(tally.table)
    print(
        f"seed {arguments.seed}: {tally.violations} violations; at most {tally.longest:.1f} s and "
        f"{tally.most / 1e6:.0f} MB; {time.monotonic() - since:.0f} s in all"
    )
    if not tally.violations:
        shutil.rmtree(kept)
    return int(bool(tally.violations))


if __name__ == "__main__":
    sys.exit(main())
