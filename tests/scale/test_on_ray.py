import logging
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.scale.making import load
from vostool.errors import DeviceError, InputError
from vostool.files.claims import is_alive
from vostool.progress import ProgressCallback
from vostool.scale.on_ray import PLACE, THREADS, Plan, RayPool, Worker, plan
from vostool.scale.ray_actor import Actor, Placed
from vostool.scale.scheduler import run_all
from vostool.scale.work import SLOW, Advanced, Ended, Event, Loaded, Logged, Task, Work

CPU, GPU = {"CPU": 8.0}, {"CPU": 16.0, "GPU": 2.0}


def test_a_cluster_with_gpus_has_an_actor_for_each() -> None:
    assert plan([GPU, GPU], None, gpus=True) == Plan(4, 8, 1.0)


def test_a_cluster_without_gpus_has_an_actor_for_each_few_cpus_of_a_node() -> None:
    assert plan([CPU, {"CPU": 7.0}], None, gpus=True) == Plan(3, THREADS, 0.0)
    assert plan([GPU], None, gpus=False) == Plan(4, THREADS, 0.0)


def test_actors_that_are_asked_for_have_what_fits_on_the_nodes() -> None:
    # three of 4 CPUs each would not fit on nodes of 6
    assert plan([{"CPU": 6.0}, {"CPU": 6.0}], 3, gpus=True) == Plan(3, 3, 0.0)
    assert plan([GPU], 4, gpus=True) == Plan(4, 4, 0.5)


def test_all_actors_fit_on_the_nodes_that_have_the_gpus() -> None:
    # the many CPUs of a node without GPUs are of no use
    assert plan([{"CPU": 64.0}, GPU], None, gpus=True) == Plan(2, 8, 1.0)
    assert plan([{"CPU": 64.0, "GPU": 1.0}, GPU], None, gpus=True) == Plan(3, 8, 1.0)


def test_a_gpu_is_shared_in_parts_that_fit_on_it() -> None:
    assert plan([GPU], 3, gpus=True).gpu == 0.5  # of two thirds only one would fit on each
    assert plan([GPU], 1, gpus=True).gpu == 1.0
    for count in range(1, 65):
        assert round(plan([{"CPU": 64.0, "GPU": 1.0}], count, gpus=True).gpu * 1e4) * count <= 1e4


@pytest.mark.parametrize("nodes", [[], [{"CPU": 1.0}]])
def test_there_is_an_actor_at_least(nodes: list[dict[str, float]]) -> None:
    assert plan(nodes, None, gpus=True) == Plan(1, 1, 0.0)


@pytest.mark.filterwarnings("default")  # Ray's own
def test_a_killed_actor_is_replaced_and_its_task_done_by_another(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    kill, bad = f"kill {tmp_path / 'was here'}", f"bad {tmp_path}"
    tasks = [Task(job, job) for job in (kill, bad, "a", "b")]
    with RayPool(load, workers=2, gpus=False) as pool:
        results = {each.task.name: each for each in run_all(tasks, pool)}
    assert (results[kill].tries, results[kill].value[0]) == (2, kill)
    assert isinstance(results[bad].error, InputError)
    assert results["a"].value[0] == "a"
    assert not any(is_alive(each.value[1]) for each in results.values() if each.value)


def test_an_address_where_no_cluster_answers_is_a_device_error() -> None:
    pytest.importorskip("ray")
    with pytest.raises(DeviceError, match=r"--on ray:127\.0\.0\.1:9: no cluster answers"):
        RayPool(load, "127.0.0.1:9", gpus=False).__enter__()


@pytest.mark.parametrize("ready", ["work", "look"])
def test_a_look_that_is_under_way_as_its_job_ends_counts_for_that_job(
    monkeypatch: pytest.MonkeyPatch, ready: str
) -> None:
    look: list[Event] = [Logged("frame 7: less"), Advanced(7, 8)]
    answers: dict[str, list[Event]] = {"look": look, "work": [Ended("A")]}
    ray = SimpleNamespace(
        wait=lambda refs, timeout: ([ready], [each for each in refs if each != ready]),
        get=lambda refs: [answers[each] for each in refs],
        exceptions=SimpleNamespace(RayError=RuntimeError),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    pool = RayPool(load, gpus=False)
    worker = Worker(1, None, "work", name="node, actor 1", look="look", looked=time.monotonic())
    pool._workers[1] = worker
    seen: list[Event] = []
    pool.wait(lambda _, event: seen.append(event))
    assert worker.look is None
    assert seen == (look if ready == "look" else [*look, Ended("A")])
    assert list(pool.idle) == ([] if ready == "look" else ["node, actor 1"])


class FakeRay:
    """A cluster with 2 CPUs, one of which is free, whose answers are those given."""

    exceptions = SimpleNamespace(RayError=RuntimeError)

    def __init__(self, answers: dict[str, list[object]]) -> None:
        self.answers = answers

    def wait(self, refs: list[str], timeout: float) -> tuple[list[str], list[str]]:
        return [each for each in refs if each in self.answers], []

    def get(self, refs: list[str]) -> list[list[object]]:
        return [self.answers.pop(each) for each in refs]

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def available_resources(self) -> dict[str, float]:
        return {"CPU": 1.0}


def pool_on(
    ray: FakeRay, monkeypatch: pytest.MonkeyPatch, *workers: Worker
) -> RayPool[str, tuple[str, int]]:
    """Return a pool that has these workers."""
    monkeypatch.setitem(sys.modules, "ray", ray)
    pool = RayPool(load, gpus=True)
    pool._plan = Plan(len(workers), cpus=4, gpu=0.5)
    pool._workers = {each.number: each for each in workers}
    return pool


def test_actors_for_which_the_cluster_has_no_room_are_named_once_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    early = time.monotonic() - SLOW - 1
    running = Worker(1, None, "work", placed=True, name="node, actor 1", looked=float("inf"))
    loading = Worker(2, None, "loading", since=early, placed=True)
    nowhere = Worker(3, None, "place", since=early)
    ray = FakeRay({})
    pool = pool_on(ray, monkeypatch, running, loading, nowhere)
    for _ in range(2):
        pool.wait(lambda *_: None)
    assert caplog.messages == [
        "actor 2 has not loaded after 60 s; it is waited for",
        "1 of 3 actors have no place on the cluster after 60 s: each needs 4 CPU and 0.5 GPU of a "
        "node, and all nodes together have 2 CPU (1 free) and 0 GPU (0 free)",
    ]
    ray.answers["work"] = [Ended("A")]
    seen: list[Event] = []
    pool.wait(lambda _, event: seen.append(event))
    assert seen == [Ended("A")]


def test_a_cluster_on_which_no_actor_finds_a_place_is_a_device_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = pool_on(FakeRay({}), monkeypatch, Worker(1, None, "place", placed=True))
    pool._placed -= PLACE + 1
    pool.wait(lambda *_: None)  # it has a place at the moment
    pool._workers[1].placed = False
    pool._placed -= PLACE + 1
    with pytest.raises(DeviceError, match="no actor found a place within 15 min: each needs 4 CPU"):
        pool.wait(lambda *_: None)


def test_an_actor_loads_once_it_has_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def remote(*arguments: object) -> str:
        asked.extend(arguments)
        return "loading"

    actor = SimpleNamespace(load=SimpleNamespace(remote=remote))
    ray = FakeRay({"place": [Placed()]})
    pool = pool_on(ray, monkeypatch, Worker(1, actor, "place"))
    pool.wait(lambda *_: None)
    assert asked == [load, str(Path.cwd())]
    assert list(pool.idle) == []
    ray.answers["loading"] = [Loaded("node")]
    pool.wait(lambda *_: None)
    assert list(pool.idle) == ["node, actor 1"]


def test_warnings_of_a_job_come_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vostool.scale.ray_actor.limit_threads", lambda _: None)
    log = logging.getLogger("vostool")

    def warn(job: str, progress: ProgressCallback) -> str:
        log.warning("%s: less", job)
        return job.upper()

    def load_warning() -> Work[str, str]:
        return warn

    actor = Actor(1)
    actor.load(load_warning, str(Path.cwd()))
    try:
        assert actor.run("a") == [Logged("a: less"), Ended("A")]
        assert actor.look() == []
    finally:
        log.removeHandler(actor._messages)
