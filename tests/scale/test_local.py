import logging
import multiprocessing
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import PATIENCE
from tests.scale.making import load, load_nothing, load_wrongly
from vostool.errors import InputError, VostoolError, WeightsError
from vostool.files.claims import is_alive
from vostool.scale.local import LocalPool, Worker, work_through
from vostool.scale.scheduler import run_all
from vostool.scale.work import SLOW, Ended, Event, Share, Task, Unusable

SHARES = [Share(1, threads=1), Share(2, threads=1)]


def tasks(*jobs: str) -> list[Task[str]]:
    return [Task(job, job) for job in jobs]


def test_a_killed_worker_is_replaced_and_its_task_done_by_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kill = f"kill {tmp_path / 'was here'}"
    bad = f"bad {tmp_path}"
    with LocalPool(load, SHARES) as pool:
        results = {each.task.name: each for each in run_all(tasks(kill, bad, "a", "b"), pool)}
    assert len(results) == 4
    assert results[kill].tries == 2
    assert results[kill].value[0] == kill
    assert isinstance(results[bad].error, InputError)
    assert results["a"].value[0] == "a"
    assert "(signal 9); it is tried again" in caplog.text
    assert not any(is_alive(each.value[1]) for each in results.values() if each.value)


def test_a_pool_that_is_left_by_an_exception_interrupts_its_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vostool.scale.local.GRACE", PATIENCE)
    note = tmp_path / "note"
    results = None
    with pytest.raises(KeyboardInterrupt), LocalPool(load, SHARES[:1]) as pool:

        def press_once_it_runs(_: object) -> None:
            while not note.exists() or not note.read_text():
                time.sleep(0.01)
            raise KeyboardInterrupt

        results = list(run_all(tasks(f"sleep {note}"), pool, report=press_once_it_runs))
    assert results is None
    assert note.read_text() == "interrupted"


def test_what_no_worker_can_load_is_an_error_once(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(WeightsError, match="no such file"),
        LocalPool(load_nothing, SHARES) as pool,
    ):
        list(run_all(tasks("a"), pool))
    assert caplog.text.count("the others go on") == 1


def test_a_worker_that_cannot_load_for_a_cause_that_nobody_foresaw_says_so() -> None:
    ours, theirs = multiprocessing.Pipe()
    ours.send(load_wrongly)
    sent: list[Any] = []
    channel: Any = SimpleNamespace(send=sent.append)
    work_through(theirs, channel)
    (unusable,) = sent
    assert isinstance(unusable, Unusable)
    assert type(unusable.error) is VostoolError
    assert str(unusable.error) == "internal error, RuntimeError: no kernel image"


def test_what_a_worker_sends_just_before_it_dies_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = multiprocessing.Pipe()

    class Dying:
        """A process that sends its outcome, and dies, when one looks whether it is alive."""

        exitcode = -9

        def is_alive(self) -> bool:
            theirs.send(Ended("done"))
            return False

        def join(self, seconds: float | None = None) -> None: ...

        def kill(self) -> None: ...

    dying: Any = Dying()
    started: list[Share] = []
    monkeypatch.setattr(LocalPool, "_start", lambda _, share: started.append(share))
    pool = LocalPool(load, SHARES[:1])
    worker = Worker(SHARES[0], dying, ours, loaded=True, busy=True)
    pool._workers[worker.share.name] = worker
    seen: list[Event] = []
    pool._receive(worker, lambda _, event: seen.append(event))
    theirs.close()
    assert seen == [Ended("done")]
    assert started == SHARES[:1]


def test_a_worker_that_does_not_load_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    ours, _theirs = multiprocessing.Pipe()
    ended, _alive = multiprocessing.Pipe(duplex=False)
    hanging: Any = SimpleNamespace(sentinel=ended, is_alive=lambda: True)
    pool = LocalPool(load, SHARES[:1])
    worker = Worker(SHARES[0], hanging, ours, since=time.monotonic() - SLOW - 1)
    pool._workers[worker.share.name] = worker
    for _ in range(2):
        pool.wait(lambda *_: None)
    assert caplog.messages == [f"{worker.share.name} has not loaded after 60 s; it is waited for"]
