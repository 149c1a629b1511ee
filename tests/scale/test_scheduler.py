from collections import deque
from collections.abc import Collection, Iterator

import pytest

from vostool.errors import DeviceError, InputError, VostoolError
from vostool.progress import ProgressCallback
from vostool.scale.scheduler import STILL, Standing, longest_first, run_all
from vostool.scale.work import (
    PATIENCE,
    Advanced,
    Alone,
    Died,
    Ended,
    Event,
    Logged,
    See,
    Task,
    attempt,
    divide,
)

DEATH = Died(DeviceError("died"))


class Scripted:
    """A pool that answers each job by the events in its script, one a turn; else it just ends."""

    def __init__(self, workers: int, script: dict[str, list[Event]] | None = None) -> None:
        self.idle: Collection[str] = [str(number) for number in range(workers)]
        self.script = {name: deque(events) for name, events in (script or {}).items()}
        self.jobs: dict[str, str] = {}
        self.given: list[tuple[str, str]] = []

    def give(self, worker: str, job: str) -> None:
        assert worker in self.idle
        self.given.append((worker, job))
        self.jobs[worker] = job
        self.idle = [each for each in self.idle if each != worker]

    def wait(self, see: See) -> None:
        for worker, job in list(self.jobs.items()):
            events = self.script.get(job)
            event = events.popleft() if events else Ended(job.upper())
            if isinstance(event, (Ended, Died)):
                del self.jobs[worker]
                self.idle = [*self.idle, worker]
            see(worker, event)


def tasks(*names: str) -> list[Task[str]]:
    return [Task(name, name) for name in names]


def test_every_task_is_run_once_in_its_order_and_its_result_names_worker_and_value() -> None:
    pool = Scripted(2)
    results = list(run_all(tasks("a", "b", "c", "d", "e"), pool))
    assert [job for _, job in pool.given] == ["a", "b", "c", "d", "e"]
    assert {(each.task.name, each.value) for each in results} == {
        (name, name.upper()) for name in "abcde"
    }
    assert {each.worker for each in results} == {"0", "1"}
    assert {each.tries for each in results} == {1}


def test_the_longest_task_comes_first_and_equal_ones_keep_their_order() -> None:
    given = [Task("a", 0, 1.0), Task("b", 0, 3.0), Task("c", 0, 3.0), Task("d", 0, 2.0)]
    assert [task.name for task in longest_first(given)] == ["b", "c", "d", "a"]


def test_a_task_whose_worker_dies_is_given_out_once_more_before_the_rest() -> None:
    pool = Scripted(1, {"a": [DEATH]})
    results = list(run_all(tasks("a", "b", "c"), pool))
    assert [(each.task.name, each.tries) for each in results] == [("b", 1), ("a", 2), ("c", 1)]
    assert [each.error for each in results] == [None] * 3
    assert [job for _, job in pool.given] == ["a", "b", "a", "c"]


def test_a_task_that_fails_twice_is_reported_and_the_others_go_on() -> None:
    pool = Scripted(2, {"b": [DEATH, DEATH]})
    results = {each.task.name: each for each in run_all(tasks("a", "b", "c"), pool)}
    assert results["b"].error is DEATH.error
    assert results["b"].tries == 2
    assert results["a"].error is results["c"].error is None


def test_a_task_that_is_to_blame_itself_is_not_tried_again() -> None:
    error = InputError("b: no video")
    pool = Scripted(1, {"b": [Ended(error=error)]})
    results = {each.task.name: each for each in run_all(tasks("a", "b"), pool)}
    assert results["b"].error is error
    assert len(pool.given) == 2


def test_without_tasks_nothing_is_waited_for() -> None:
    assert list(run_all([], Scripted(0))) == []


def test_further_tasks_are_asked_for_once_all_others_are_given_out() -> None:
    pool = Scripted(1)
    asked: list[int] = []

    def more() -> Iterator[Task[str]]:
        for name in "xy":
            asked.append(len(pool.given))
            yield Task(name, name)

    results = list(run_all(tasks("a", "b"), pool, more=more()))
    assert [each.task.name for each in results] == ["a", "b", "x", "y"]
    assert asked[0] == 2


def test_where_there_is_no_further_task_as_yet_it_is_asked_again_until_there_are_no_more() -> None:
    pool = Scripted(1)
    steps: list[int] = []

    def more() -> Iterator[Task[str] | None]:
        yield None
        yield from tasks("x")
        yield None

    def wait(see: See) -> None:
        steps.append(len(pool.jobs))
        Scripted.wait(pool, see)

    pool.wait = wait  # type: ignore[method-assign]
    assert [each.task.name for each in run_all([], pool, more=more())] == ["x"]
    assert steps == [0, 1, 0]


def test_further_tasks_are_asked_for_by_free_workers_only() -> None:
    pool = Scripted(1, {"a": [Advanced(1, 2), Ended("A")]})

    def more() -> Iterator[Task[str]]:
        assert pool.jobs == {}
        yield from tasks("x")

    results = list(run_all(tasks("a"), pool, more=more()))
    assert [each.task.name for each in results] == ["a", "x"]


def test_one_process_without_a_task_waits_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("vostool.scale.work.time.sleep", slept.append)
    more: list[Task[str] | None] = [None, *tasks("a"), None]
    (result,) = run_all([], Alone[str, str](lambda job, _: job.upper()), more=more)
    assert (result.value, slept) == ("A", [PATIENCE] * 2)


def test_the_standing_counts_what_is_done_failed_and_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0

    def clock() -> float:
        return now

    monkeypatch.setattr("vostool.scale.scheduler.time.monotonic", clock)
    half = Advanced(50, 100)
    pool = Scripted(1, {"a": [half, Ended("A")], "b": [Ended(error=InputError("no"))]})
    seen: list[Standing] = []

    def report(standing: Standing) -> None:
        nonlocal now
        seen.append(standing)
        now += 10

    given = [Task("a", "a", 3.0), Task("b", "b", 1.0), Task("c", "c", 2.0)]
    list(run_all(given, pool, report=report))
    first, *_, last = seen
    assert [(each.name, each.done, each.total) for each in first.running] == [("a", 50, 100)]
    # half of a, 1.5 of 6, took no time yet
    assert (first.total, first.done, first.failed, first.seconds_left) == (3, 0, 0, 0.0)
    # a is done after 10 s, and 3 are left
    assert (seen[1].done, seen[1].seconds_left) == (1, 10.0)
    assert (last.done, last.failed, last.running, last.seconds_left) == (2, 1, (), 0.0)


def test_a_task_that_was_done_before_says_nothing_about_the_time_left() -> None:
    seen: list[Standing] = []
    list(run_all(tasks("a", "b"), Scripted(1), report=seen.append))
    assert [standing.seconds_left for standing in seen] == [None, None]


def test_an_interruption_says_how_many_are_done() -> None:
    def press(job: str, progress: ProgressCallback) -> str:
        if job == "b":
            raise KeyboardInterrupt
        return job

    with pytest.raises(KeyboardInterrupt) as stop:
        list(run_all(tasks("a", "b", "c"), Alone(press), unit="videos"))
    assert stop.value.__notes__ == ["1 of 3 videos are done"]


def test_warnings_of_workers_are_logged_with_their_task(caplog: pytest.LogCaptureFixture) -> None:
    list(run_all(tasks("a"), Scripted(1, {"a": [Logged("frame 7: less"), Ended()]})))
    assert caplog.messages == ["a: frame 7: less"]


def test_a_task_that_stands_still_is_named_once_until_it_advances_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    monkeypatch.setattr("vostool.scale.scheduler.time.monotonic", lambda: now)

    def report(standing: Standing) -> None:
        nonlocal now
        now += STILL

    still = [Advanced(1, 9)] * 4
    again = [Advanced(2, 9)] * 3
    list(run_all(tasks("a"), Scripted(1, {"a": [*still, *again, Ended()]}), report=report))
    words = "a: no progress for 10 min (0); it is waited for, end its process to try it again"
    assert caplog.messages == [words] * 2


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InputError("no video"), Ended),
        (DeviceError("out of memory"), Died),
        (VostoolError("internal error"), Died),
        (ZeroDivisionError("division by zero"), Died),
    ],
)
def test_an_error_that_the_job_is_not_to_blame_for_counts_as_the_death_of_its_worker(
    error: Exception, kind: type[Event]
) -> None:
    def work(job: str, progress: ProgressCallback) -> str:
        raise error

    ended = attempt(work, "a", lambda *_: None)
    assert isinstance(ended, kind)
    assert str(error) in str(ended.error)


def test_one_process_runs_a_task_once_even_if_nobody_is_to_blame() -> None:
    runs: list[str] = []

    def work(job: str, progress: ProgressCallback) -> str:
        runs.append(job)
        raise ZeroDivisionError

    (result,) = run_all(tasks("a"), Alone(work))
    assert runs == ["a"]
    assert "internal error, ZeroDivisionError" in str(result.error)


class TestShares:
    def test_divide_threads_and_deal_gpus_in_turn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", "8")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        shares = divide(3, gpus=2)
        assert [share.gpu for share in shares] == ["0", "1", "0"]
        assert [share.threads for share in shares] == [2, 2, 2]
        assert shares[1].name.endswith(", worker 2, GPU 1")

    def test_deal_the_gpus_that_a_cluster_has_allotted(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
        assert [share.gpu for share in divide(2, gpus=2)] == ["5", "7"]

    def test_have_a_thread_at_least_and_no_gpu_where_there_is_none(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        shares = divide(4)
        assert [share.threads for share in shares] == [1] * 4
        assert {share.gpu for share in shares} == {None}
        assert len({share.name for share in shares}) == 4
