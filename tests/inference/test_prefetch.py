import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import pytest
import torch

from tests.conftest import PATIENCE, wait_for
from vostool.inference.prefetch import Helpers, WriteBehind, pool_beside, read_ahead


def check_submits_wait(
    submit: Callable[[Callable[[], None]], None], *, of: int, beyond: int
) -> None:
    """Assert that of so many calls that take long, those beyond a number wait to be submitted."""
    gate, submitted = threading.Event(), list[int]()

    def wait() -> None:
        gate.wait(PATIENCE)

    def submit_all() -> None:
        for number in range(of):
            submit(wait)
            submitted.append(number)

    submitter = threading.Thread(target=submit_all)
    submitter.start()
    wait_for(lambda: len(submitted) == beyond)
    time.sleep(0.02)
    assert len(submitted) == beyond
    gate.set()
    submitter.join()
    assert len(submitted) == of


Threads = Callable[[str], list[threading.Thread]]


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    """Return the threads of a name that a test has started and that have not ended.

    However long one takes to end, what ends it waits.
    """
    monkeypatch.setattr("vostool.inference.prefetch.GRACE", PATIENCE)
    before = set(threading.enumerate())

    def threads(name: str) -> list[threading.Thread]:
        started = set(threading.enumerate()) - before
        return [thread for thread in started if thread.name.startswith(name)]

    return threads


class TestReadAhead:
    def test_yields_what_it_is_given_in_order(self) -> None:
        assert list(read_ahead(range(100), depth=3)) == list(range(100))
        assert list(read_ahead([])) == []

    def test_passes_none_and_exceptions_on_as_items(self) -> None:
        error = ValueError("an item, not raised")
        assert list(read_ahead([None, error, None])) == [None, error, None]

    def test_ends_without_an_item_that_never_comes(
        self, monkeypatch: pytest.MonkeyPatch, threads: Threads
    ) -> None:
        monkeypatch.setattr("vostool.inference.prefetch.GRACE", 0.05)
        silent = threading.Event()

        def items() -> Iterator[int]:
            yield 0
            silent.wait(PATIENCE)  # as a pipe whose writer says nothing

        reader = read_ahead(items())
        assert next(reader) == 0
        begun = time.monotonic()
        reader.close()
        assert time.monotonic() - begun < PATIENCE / 2
        silent.set()
        wait_for(lambda: not threads("read-ahead"))

    def test_makes_items_while_nobody_asks_but_only_a_few(self) -> None:
        made: list[int] = []

        def items() -> Iterator[int]:
            for number in range(50):
                made.append(number)
                yield number

        reader = read_ahead(items(), depth=4)
        assert made == [], "nothing is read before the first item is asked for"
        assert next(reader) == 0
        wait_for(lambda: len(made) == 6)  # one taken, four waiting, one in hand
        time.sleep(0.02)
        assert len(made) == 6
        assert list(reader) == list(range(1, 50))

    def test_raises_what_the_items_raise_in_its_place(self, threads: Threads) -> None:
        def items() -> Iterator[int]:
            yield 1
            yield 2
            raise KeyError("third")

        reader = read_ahead(items())
        assert [next(reader), next(reader)] == [1, 2]
        with pytest.raises(KeyError, match="third"):
            next(reader)
        assert not threads("read-ahead")

    def test_ends_its_thread_when_done(self, threads: Threads) -> None:
        list(read_ahead(range(3)))
        assert not threads("read-ahead")

    @pytest.mark.parametrize("taken", [1, 3])
    def test_ends_its_thread_when_closed_early(self, taken: int, threads: Threads) -> None:
        def endless() -> Iterator[int]:
            while True:
                yield 0

        reader = read_ahead(endless(), depth=2)
        for _ in range(taken):
            next(reader)
        assert threads("read-ahead")
        reader.close()
        assert not threads("read-ahead")


class TestWriteBehind:
    def test_runs_calls_one_after_another_in_order(self) -> None:
        done: list[int] = []
        with WriteBehind(depth=3) as behind:
            for number in range(30):
                behind.submit(lambda number=number: done.append(number))  # type: ignore[misc]
        assert done == list(range(30))

    def test_does_not_wait_for_a_call_unless_too_many_wait(self) -> None:
        with WriteBehind(depth=4) as behind:
            check_submits_wait(behind.submit, of=10, beyond=4)

    def test_raises_what_a_call_raised_at_the_end(self) -> None:
        with pytest.raises(OSError, match="disk full"), WriteBehind() as behind:
            behind.submit(self.fail)

    def test_raises_it_sooner_if_more_is_submitted(self) -> None:
        with pytest.raises(OSError, match="disk full"), WriteBehind() as behind:
            behind.submit(self.fail)
            for _ in range(1000):
                behind.submit(lambda: time.sleep(0.001))
            pytest.fail("went on for 1000 calls")

    def test_finishes_what_was_submitted_when_the_block_raises(self) -> None:
        done: list[int] = []
        with pytest.raises(KeyboardInterrupt), WriteBehind() as behind:
            for number in range(5):
                behind.submit(lambda number=number: done.append(number))  # type: ignore[misc]
            raise KeyboardInterrupt
        assert done == list(range(5))

    def test_finishes_what_was_submitted_when_interrupted_at_the_end(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done: list[int] = []

        def call(number: int) -> None:
            time.sleep(0.005)
            done.append(number)

        def interrupted(future: Future[None], timeout: float | None = None) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), WriteBehind() as behind:
            for number in range(5):
                behind.submit(partial(call, number))
            monkeypatch.setattr(Future, "result", interrupted)
        assert done == list(range(5))

    def test_tells_the_error_of_the_block_rather_than_that_of_a_call(self) -> None:
        with pytest.raises(KeyboardInterrupt), WriteBehind() as behind:
            behind.submit(self.fail)
            raise KeyboardInterrupt

    def test_leaves_no_thread(self, threads: Threads) -> None:
        with WriteBehind() as behind:
            behind.submit(lambda: None)
        assert not threads("write-behind")

    def fail(self) -> None:
        raise OSError("disk full")


class TestHelpers:
    def test_items_are_done_in_their_order_however_long_their_calls_take(self) -> None:
        ended: list[int] = []
        counts: list[int] = []

        def call(number: int) -> None:
            time.sleep(0.002 * (3 - number % 3))
            ended.append(number)

        with Helpers(3, lambda: counts.append(len(ended))) as helpers:
            for number in range(12):
                helpers.submit([partial(call, number), partial(call, number)])
        assert sorted(ended) == sorted(2 * list(range(12)))
        assert len(counts) == 12
        assert all(count >= 2 * item for item, count in enumerate(counts, start=1))

    def test_there_are_no_more_items_at_a_time_than_threads(self) -> None:
        with Helpers(2, lambda: None) as helpers:
            check_submits_wait(lambda call: helpers.submit([call]), of=5, beyond=2)

    def test_no_item_is_done_from_one_on_whose_call_raised(self) -> None:
        done: list[None] = []

        def fail() -> None:
            raise OSError("disk full")

        with (
            pytest.raises(OSError, match="disk full"),
            Helpers(2, lambda: done.append(None)) as all_,
        ):
            all_.submit([lambda: None])
            all_.submit([fail, lambda: None])
            all_.submit([lambda: None])
        assert len(done) == 1

    def test_the_error_of_the_block_is_raised_rather_than_that_of_a_call(
        self, threads: Threads
    ) -> None:
        def fail() -> None:
            raise OSError("disk full")

        done: list[None] = []
        with pytest.raises(KeyboardInterrupt), Helpers(1, lambda: done.append(None)) as helpers:
            helpers.submit([fail])
            raise KeyboardInterrupt
        assert not done
        assert not threads("write-helper")


def test_a_pool_whose_threads_cannot_all_start_leaves_none_waiting(
    monkeypatch: pytest.MonkeyPatch, threads: Threads
) -> None:
    start, before = threading.Thread.start, torch.get_num_threads()

    def start_one(thread: threading.Thread) -> None:
        if threads("beside"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_one)
    with pytest.raises(RuntimeError, match="can't start"):
        pool_beside(2, "beside")
    assert not threads("beside")
    assert torch.get_num_threads() == before


TASKS = Path("/proc/self/task")  # the threads of this process, on Linux


@pytest.mark.skipif(not TASKS.is_dir(), reason="no /proc")
def test_operations_in_a_pool_start_no_threads_beside_those_of_the_network() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)

    def threads_after() -> set[Path]:
        torch.ones(1000, 1000).add(1)
        return set(TASKS.iterdir())

    try:
        with pool_beside(2, "beside") as pool:
            started = set(TASKS.iterdir())
            assert pool.submit(threads_after).result() <= started  # others may end meanwhile
            assert torch.get_num_threads() == 2
            other: list[int] = []
            later = threading.Thread(target=lambda: other.append(torch.get_num_threads()))
            later.start()
            later.join()
            assert other == [2], "nor does it count for other threads"
    finally:
        torch.set_num_threads(before)
