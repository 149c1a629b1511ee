"""How many threads this process uses. Must not import torch, which reads the number as it loads.

The number is that of the network's team of OpenMP threads, and the most that the decoder, the
encoder of films and the writing of pictures have each. It is kept where the libraries look for it:
in `OMP_NUM_THREADS`.
"""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "OMP_NUM_THREADS"
CGROUP, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
LOAD = Path("/proc/loadavg")
LOOKS, PAUSE = 3, 0.01  # at how many processes run, and the seconds between


def limit_threads(asked: int | None) -> None:
    """Let this process use as many threads as asked.

    None: as many as `OMP_NUM_THREADS` says, else one for each core that it may use and that is
    idle now. Call it before torch is imported; where it has been, its number changes if asked.
    """
    torch = sys.modules.get("torch")
    if asked is None and (stated_threads() is not None or torch is not None):
        return
    count = asked or max(1, min(available_cores(), idle_cores()))
    os.environ[VARIABLE] = str(count)
    if torch is not None:
        torch.set_num_threads(count)


def thread_count() -> int:
    """Return how many threads a library may use: as `OMP_NUM_THREADS` says, else all cores."""
    return stated_threads() or available_cores()


def stated_threads() -> int | None:
    """Return the number in `OMP_NUM_THREADS`, which may be one of several; None: there is none."""
    first = os.environ.get(VARIABLE, "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None


def available_cores() -> int:
    """Return how many cores this process may use, by its affinity and its cgroup's quota."""
    if hasattr(os, "process_cpu_count"):  # from Python 3.13
        cores = os.process_cpu_count() or 1
    elif hasattr(os, "sched_getaffinity"):  # on Linux
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = cgroup_quota()
    return cores if quota is None else max(1, min(cores, round(quota)))


def cgroup_quota() -> float | None:
    """Return how many cores this process may keep busy by its cgroups; None: they set no limit."""
    return min(filter(None, map(quota_of, cgroups())), default=None)


def cgroups() -> Iterator[Path]:
    """Yield the folders of this process's cgroup and of those around it, whose limits count too."""
    yield CGROUP / "cpu"  # version 1
    folder = CGROUP  # of a container it is the container's own
    yield folder
    for name in own_cgroup().parts:
        folder /= name
        yield folder


def own_cgroup() -> Path:
    """Return the path of this process's cgroup (version 2) below the root; "." if unknown."""
    try:
        lines = OWN_CGROUP.read_text().splitlines()
    except OSError:
        lines = []
    start = "0::/"
    return Path(next((line.removeprefix(start) for line in lines if line.startswith(start)), ""))


def quota_of(cgroup: Path) -> float | None:
    """Return how many cores a cgroup may keep busy; None: it sets no limit."""
    try:
        limit, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:  # version 1
            limit = (cgroup / "cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        cores = int(limit) / int(period)  # "max" is no number, -1 is no limit
    except (ValueError, ZeroDivisionError):
        return None
    return cores if cores > 0 else None


def idle_cores() -> int:
    """Return how many of the machine's cores no other thread keeps busy; all where unknown.

    More threads than idle cores are slower than one: all wait for the one that has to wait.
    """
    others = []
    for look in range(LOOKS):
        time.sleep(PAUSE if look else 0)
        try:
            running = int(LOAD.read_text().split()[3].split("/")[0])
        except (OSError, ValueError, IndexError):
            running = 0
        others.append(max(0, running - 1))  # without this one
    return (os.cpu_count() or 1) - min(others)
