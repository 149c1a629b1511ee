"""A pool of actors on a Ray cluster: one for each GPU, or for each share of a node's CPU threads.

All nodes must see the same files under the same paths. Ray is an extra, imported when a pool is
opened. Must not import torch.
"""

import logging
import math
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Generic, Self

from vostool.errors import DeviceError, VostoolError
from vostool.files import first_line
from vostool.files.extras import import_extra
from vostool.scale.ray_actor import Actor, Placed
from vostool.scale.work import (
    GRACE,
    PATIENCE,
    SLOW,
    Advanced,
    Died,
    Ended,
    J,
    Load,
    Loaded,
    Logged,
    R,
    See,
    Unusable,
)

HERE = "local"  # Ray's word for a new cluster on this machine
LOOK_EVERY = 1.0  # seconds between two looks at how far an actor is
CONNECT = 10.0  # seconds for a cluster to answer
PLACE = 900.0  # seconds to place any actor at all: an autoscaler takes minutes to add a node
THREADS = 4  # CPUs of an actor without a GPU
FINEST = 10_000  # parts of a GPU; Ray rounds to them, and what is rounded up might not fit

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How many actors there are to be, and what each has of its node."""

    count: int
    cpus: int
    gpu: float  # 0: none


def plan(nodes: Sequence[Mapping[str, float]], asked: int | None, gpus: bool) -> Plan:
    """Return how to use nodes with such resources: an actor for each GPU, or `THREADS` CPUs.

    `asked` is another number of actors; `gpus` says whether GPUs may be used.
    """
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    cards = [int(node.get("GPU", 0)) if gpus else 0 for node in nodes]
    found = sum(cards)
    each = max(1, max(cpus, default=1) if asked or found else THREADS)
    count = asked or found or max(1, sum(cores // each for cores in cpus))
    sharing = math.ceil(count / found) if found else 0  # actors of a GPU

    def room(each: int) -> int:
        """Return how many actors of so many CPUs fit on the nodes."""
        return sum(
            min(cores // each, card * sharing) if found else cores // each
            for cores, card in zip(cpus, cards, strict=True)
        )

    while each > 1 and room(each) < count:
        each -= 1
    return Plan(count, each, FINEST // sharing / FINEST if sharing else 0.0)


@dataclass
class Worker:
    """An actor, as its driver sees it."""

    number: int
    actor: Any
    # the reference of what it does at present: finding a place, loading, or a job; None: nothing
    work: Any
    since: float = field(default_factory=time.monotonic)  # when it was started, or placed
    placed: bool = False
    warned: bool = False  # that it is waited for
    name: str = ""  # empty until it has loaded
    look: Any = None  # the reference of how far it is
    looked: float = 0.0


class RayPool(Generic[J, R]):
    """Actors, each of which loads once; a context manager."""

    def __init__(
        self, load: Load[J, R], address: str = HERE, *, workers: int | None = None, gpus: bool
    ) -> None:
        """Prepare actors that call `load`, which is pickled; see `plan` for how many.

        Raises UsageError if Ray is not installed.
        """
        self._ray = import_ray()
        self._load, self._address, self._asked, self._gpus = load, address, workers, gpus
        self._workers: dict[int, Worker] = {}
        self._count = 0  # of actors so far
        self._placed = time.monotonic()  # when any of them had a place last

    def __enter__(self) -> Self:
        connect(self._ray, self._address)
        try:
            nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            self._plan = plan(nodes, self._asked, self._gpus)
            for _ in range(self._plan.count):
                self._start()
        except BaseException:
            self._ray.shutdown()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        busy = [each.work for each in self._workers.values() if each.name and each.work]
        try:
            for worker in self._workers.values():
                worker.actor.stop.remote()
            if busy:
                self._ray.wait(busy, num_returns=len(busy), timeout=GRACE)
        finally:
            for worker in self._workers.values():
                self._ray.kill(worker.actor)
            self._workers.clear()
            self._ray.shutdown()  # ends the cluster too, if it was started here

    def _start(self) -> None:
        self._count += 1
        kind = self._ray.remote(Actor).options(
            num_cpus=self._plan.cpus, num_gpus=self._plan.gpu, max_concurrency=2
        )
        actor = kind.remote(self._plan.cpus)
        place = actor.place.remote()
        self._workers[self._count] = Worker(self._count, actor, place)

    @property
    def idle(self) -> Collection[str]:
        """The names of the actors that have loaded, and have no job."""
        return [each.name for each in self._workers.values() if each.name and each.work is None]

    def give(self, worker: str, job: J) -> None:
        """Send an idle actor a job."""
        found = next(each for each in self._workers.values() if each.name == worker)
        found.work, found.looked = found.actor.run.remote(job), time.monotonic()

    def wait(self, see: See) -> None:
        """Wait for answers of actors, or for their end.

        Raises the error if none can load, DeviceError if none finds a place on the cluster.
        """
        now = time.monotonic()
        pending: dict[Any, Worker] = {}
        for worker in self._workers.values():
            if worker.name and worker.work and not worker.look and now - worker.looked > LOOK_EVERY:
                worker.look, worker.looked = worker.actor.look.remote(), now
            pending |= {each: worker for each in (worker.work, worker.look) if each}
        if not pending:  # Ray would not wait
            time.sleep(PATIENCE)
        ready, _ = self._ray.wait(list(pending), timeout=PATIENCE)
        for answer in ready:
            worker = pending[answer]
            # a look that is under way as the job ends is about that job: it comes before the end
            answers = [worker.look, answer] if worker.look and answer != worker.look else [answer]
            try:
                found = self._ray.get(answers)
            except self._ray.exceptions.RayError as error:
                self._bury(worker, DeviceError(f"its actor died: {first_line(error)}"), see)
                continue
            if answer == worker.work:
                worker.work = None
            worker.look = None
            for message in [each for messages in found for each in messages]:
                self._note(worker, message, see)
        self._check_places(time.monotonic())

    def _check_places(self, now: float) -> None:
        """Log once which actors are waited for; raises DeviceError if none has found a place."""
        workers = self._workers.values()
        if any(each.placed for each in workers):
            self._placed = now
        elif now - self._placed > PLACE:
            raise DeviceError(
                f"--on ray:{self._address}: no actor found a place within {PLACE / 60:.0f} min: "
                f"{self._offer()}; wait until some is free, or give other --workers"
            )
        late = [each for each in workers if not each.name and now - each.since > SLOW]
        slow = [each for each in late if not each.warned]
        for each in slow:
            each.warned = True
            if each.placed:
                words = "actor %d has not loaded after %.0f s; it is waited for"
                log.warning(words, each.number, SLOW)
        if unplaced := sum(not each.placed for each in slow):
            words = "%d of %d actors have no place on the cluster after %.0f s: %s"
            log.warning(words, unplaced, len(workers), SLOW, self._offer())

    def _offer(self) -> str:
        """Return what an actor needs, and what the cluster has."""
        needs = {"CPU": self._plan.cpus, **({"GPU": self._plan.gpu} if self._plan.gpu else {})}
        found, free = self._ray.cluster_resources(), self._ray.available_resources()
        wanted = " and ".join(f"{count:g} {name}" for name, count in needs.items())
        offered = " and ".join(
            f"{found.get(name, 0):g} {name} ({free.get(name, 0):g} free)" for name in needs
        )
        return f"each needs {wanted} of a node, and all nodes together have {offered}"

    def _note(self, worker: Worker, message: Any, see: See) -> None:
        match message:
            case Placed():
                worker.placed, worker.warned, worker.since = True, False, time.monotonic()
                worker.work = worker.actor.load.remote(self._load, str(Path.cwd()))
            case Loaded(where):
                worker.name = f"{where}, actor {worker.number}"
            case Unusable(error) | Died(error):
                self._bury(worker, error, see)
            case Advanced() | Logged() | Ended():
                see(worker.name, message)

    def _bury(self, worker: Worker, error: VostoolError, see: See) -> None:
        """Replace an actor that has died, anywhere; one that cannot load is not replaced."""
        del self._workers[worker.number]
        self._ray.kill(worker.actor)
        if worker.name:
            self._start()
            see(worker.name, Died(error))
        elif self._workers:
            log.warning("actor %d does not start: %s; the others go on", worker.number, error)
        else:
            raise error


def import_ray() -> ModuleType:
    """Return Ray; raises UsageError if it is not installed."""
    return import_extra("ray", "'vostool[cluster]'", "--on ray")


def connect(ray: ModuleType, address: str) -> None:
    """Connect to a cluster, or start one here; raises DeviceError if none answers."""
    more: dict[str, Any] = {"include_dashboard": False} if address == HERE else {}
    try:
        host, _, port = address.rpartition("/")[2].rpartition(":")
        if host and port.isdecimal():  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), CONNECT).close()
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **more)
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        words = "a cluster cannot be started here" if address == HERE else "no cluster answers"
        raise DeviceError(f"--on ray:{address}: {words}: {first_line(error)}") from error
