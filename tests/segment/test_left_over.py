import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.segment.test_batch_report import ENTRY, report
from vostool.files.claims import CLAIM, Holder, claimed
from vostool.scale.shards import WHOLE, Shard
from vostool.segment import left_over as module
from vostool.segment.batch_report import BatchReport, JobEntry, report_path, write_report
from vostool.segment.job import Job
from vostool.segment.left_over import further, is_left, left_over


def leave(folder: Path, name: str, status: str) -> Path:
    """Leave the run of a job."""
    (folder / name).mkdir(parents=True)
    (folder / name / "run.json").write_text(f'{{\n  "frames": 3,\n  "status": "{status}"\n}}\n')
    return folder / name


def leave_claim(folder: Path) -> Path:
    """Leave what a process of another host leaves that was killed, as if just renewed."""
    folder.mkdir(parents=True)
    path = folder / CLAIM
    path.write_text(json.dumps(asdict(Holder("node7", 12, token="a"))))
    os.utime(path, (2**33, 2**33))  # however long the test takes
    return path


def test_a_job_is_left_unless_it_is_done_or_at_work(tmp_path: Path) -> None:
    assert is_left(tmp_path / "not begun")
    assert is_left(leave(tmp_path, "stopped", "interrupted"))
    assert not is_left(leave(tmp_path, "done", "done"))
    with claimed(tmp_path / "at work"):
        assert not is_left(tmp_path / "at work")


def test_only_the_status_of_the_run_itself_says_that_it_is_done(tmp_path: Path) -> None:
    path = leave(tmp_path, "a", "done") / "run.json"
    path.write_text(json.dumps({"options": {"status": "done"}, "status": "failed"}, indent=2))
    assert is_left(tmp_path / "a")


def test_a_shard_takes_over_what_others_have_not_begun_their_last_first(tmp_path: Path) -> None:
    jobs = [Job(Path(), (), tmp_path / name) for name in "abcdefg"]
    leave(tmp_path, "f", "done")
    # 1/3 has a, d and g; of 2/3 b, e are left, of 3/3 c, f
    assert list(left_over(jobs, Shard(1, 3), tmp_path, set())) == [5, 2, 3]
    assert list(further(jobs, WHOLE, tmp_path, {})) == []


def test_of_a_shard_that_has_ended_only_what_it_left_to_another_is_taken_over(
    tmp_path: Path,
) -> None:
    jobs = [Job(Path(), (), tmp_path / name) for name in "abcd"]
    ended = Shard(2, 2)
    entries = [
        replace(ENTRY, number=2, status="failed"),
        replace(ENTRY, number=4, status="elsewhere"),
    ]
    write_report(report_path(tmp_path, ended), report(*entries, shard=ended))
    assert list(left_over(jobs, Shard(1, 2), tmp_path, set())) == [4]


@pytest.mark.parametrize(
    "found",
    [
        report(replace(ENTRY, number=2), shard=Shard(2, 2), status="interrupted"),
        report(replace(ENTRY, number=2), shard=Shard(2, 2), status="failed"),
        report(replace(ENTRY, number=10, status="elsewhere"), shard=Shard(2, 2), rows=10),
    ],
    ids=["interrupted", "failed", "another table"],
)
def test_what_an_interrupted_shard_or_one_of_another_table_has_not_done_is_taken_over(
    tmp_path: Path, found: BatchReport
) -> None:
    jobs = [Job(Path(), (), tmp_path / name) for name in "abcd"]
    write_report(report_path(tmp_path, Shard(2, 2)), found)
    leave(tmp_path, "b", "done")
    assert list(left_over(jobs, Shard(1, 2), tmp_path, set())) == [4]


@pytest.mark.parametrize("found", ["void", "renewed", "done meanwhile"])
class TestClaimsOfOtherHosts:
    """Jobs a to d, of which a shard that is begun again has b and d; d is claimed."""

    @pytest.fixture
    def jobs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
        monkeypatch.setattr(module, "POLL", 0.0)
        return [Job(Path(), (), tmp_path / name) for name in "abcd"]

    def settle(self, claim: Path, found: str) -> None:
        """Have what seems to be at work turn out to be gone, alive, or done."""
        if found == "void":
            os.utime(claim, (0, 0))
        elif found == "renewed":
            os.utime(claim, (2**33 + 5, 2**33 + 5))
        else:
            claim.unlink()
            (claim.parent / "run.json").write_text('{\n  "status": "done"\n}\n')

    def test_a_claim_of_another_host_on_a_job_of_the_shard_is_waited_for(
        self, jobs: list[Job], tmp_path: Path, found: str
    ) -> None:
        claim, told = leave_claim(tmp_path / "d"), list[str]()
        entries = {2: replace(ENTRY, number=2)}
        numbers = further(jobs, Shard(2, 2), tmp_path, entries, overwrite=True, report=told.append)
        assert next(numbers) is None  # its job has not ended
        assert told == []
        entries[4] = replace(ENTRY, number=4, status="elsewhere")
        assert [next(numbers), next(numbers)] == [None, None]
        (words,) = told
        assert "/d: waiting up to 60 s for a sign of life" in words
        assert words.endswith("of the process on another host that was at work in it")
        self.settle(claim, found)
        # one that is done is asked for its report
        assert rest(numbers) == ([] if found == "renewed" else [4])

    def test_a_claim_of_another_host_on_a_job_of_another_shard_is_waited_for(
        self, jobs: list[Job], tmp_path: Path, found: str
    ) -> None:
        claim = leave_claim(tmp_path / "d")
        leave(tmp_path, "b", "done")
        entries = {number: replace(ENTRY, number=number) for number in (1, 3)}
        numbers = further(jobs, Shard(1, 2), tmp_path, entries)
        assert next(numbers) is None
        self.settle(claim, found)
        assert rest(numbers) == ([4] if found == "void" else [])


def rest(numbers: Iterator[int | None]) -> list[int]:
    """Return the further numbers."""
    return [number for number in numbers if number is not None]


def test_a_process_that_is_at_work_on_this_host_is_not_waited_for(tmp_path: Path) -> None:
    entries = {1: replace(ENTRY, status="elsewhere")}
    with claimed(tmp_path / "a"):
        jobs = [Job(Path(), (), tmp_path / "a")]
        assert list(further(jobs, Shard(1, 2), tmp_path, entries)) == []


def test_a_job_whose_process_ends_before_the_shard_does_is_done_after_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL", 0.0)
    jobs = [Job(Path(), (), tmp_path / name) for name in "abc"]
    entries = {1: replace(ENTRY, status="elsewhere")}
    numbers = further(jobs, Shard(1, 2), tmp_path, entries, overwrite=True)
    with claimed(tmp_path / "a"):
        assert [next(numbers), next(numbers)] == [None, None]
    assert next(numbers) == 1
    entries[1], entries[3] = ENTRY, replace(ENTRY, number=3)
    assert rest(numbers) == []


def test_what_is_no_claim_is_left_to_the_shard_that_reports_it(tmp_path: Path) -> None:
    jobs = [Job(Path(), (), tmp_path / name) for name in "ab"]
    (tmp_path / "b" / CLAIM).mkdir(parents=True)
    assert rest(further(jobs, Shard(1, 2), tmp_path, {1: ENTRY})) == []


def test_shards_that_overwrite_do_not_do_the_jobs_of_others(tmp_path: Path) -> None:
    jobs = [Job(Path(), (), tmp_path / name) for name in "abcd"]
    entries: dict[int, JobEntry] = {number: replace(ENTRY, number=number) for number in (1, 3)}
    assert rest(further(jobs, Shard(1, 2), tmp_path, entries)) == [4, 2]
    assert rest(further(jobs, Shard(1, 2), tmp_path, entries, overwrite=True)) == []


def test_who_looks_for_what_is_left_on_a_slow_disk_stops_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK", -1.0)  # each look takes longer
    for name in "bd":
        leave(tmp_path, name, "done")
    jobs = [Job(Path(), (), tmp_path / name) for name in "abcd"]
    assert list(left_over(jobs, Shard(1, 2), tmp_path, set())) == [None, None]
