from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest

from vostool.errors import InputError, OutputError
from vostool.scale.shards import WHOLE, Shard
from vostool.segment.batch_report import (
    BatchReport,
    BatchStatus,
    JobEntry,
    merge,
    read_batch_report,
    removal,
    removal_at,
    report_path,
    write_report,
)

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
ENTRY = JobEntry(1, "a.mp4", "out/a", "done", "w1", began=0.0, seconds=2.0, tries=1, frames=50)


def report(
    *entries: JobEntry, shard: Shard = WHOLE, rows: int = 4, status: BatchStatus = "done"
) -> BatchReport:
    return BatchReport.of("t.csv", rows, entries, START, seconds=4.0, status=status, shard=shard)


def test_a_report_counts_jobs_frames_and_how_busy_its_workers_were(tmp_path: Path) -> None:
    failed = replace(ENTRY, number=3, status="failed", frames=None, seconds=1.0, worker="w2")
    found = report(failed, replace(ENTRY, number=2, status="already done", seconds=0.0), ENTRY)
    assert found.totals == {"done": 1, "already done": 1, "failed": 1, "elsewhere": 0}
    assert (found.frames, found.frames_per_second) == (50, 12.5)
    assert [entry.number for entry in found.jobs] == [1, 2, 3]
    assert [(each.worker, each.jobs, each.share) for each in found.workers] == [
        ("w1", 2, 0.5),
        ("w2", 1, 0.25),
    ]
    write_report(tmp_path / "all" / "batch.json", found)
    assert read_batch_report(tmp_path / "all" / "batch.json") == found


def test_only_the_report_of_a_batch_makes_way_for_another(tmp_path: Path) -> None:
    path = tmp_path / "batch.json"
    removal(path)()
    write_report(path, report(ENTRY))
    removal(path)()
    assert not path.exists()
    path.write_text('{"mine": 1}')
    with pytest.raises(OutputError, match="is not the report of a batch"):
        removal(path)()
    assert path.exists()
    removal(path, overwrite=True)()
    assert not path.exists()


def test_the_picture_of_a_former_batch_makes_way_with_its_report_alone(tmp_path: Path) -> None:
    path, picture = tmp_path / "batch.json", tmp_path / "batch.png"
    picture.write_bytes(b"mine")
    removal(path)()
    assert picture.exists()
    with pytest.raises(OutputError, match=r"batch\.png: exists already"):
        removal(path, drawn=True)()
    write_report(path, report(ENTRY))
    removal(path)()
    assert not picture.exists()
    picture.write_bytes(b"mine")
    removal(path, overwrite=True, drawn=True)()
    assert not picture.exists()


def test_only_the_report_of_a_batch_at_an_address_makes_way_with_its_picture() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/batches/batch.png", b"mine")
    removal_at("memory://batches/", "batch.json")()
    with pytest.raises(OutputError, match=r"memory://batches/batch\.png: exists already; choose"):
        removal_at("memory://batches/", "batch.json", drawn=True)()
    memory.pipe_file("/batches/batch.json", report(ENTRY).model_dump_json().encode())
    memory.pipe_file("/batches/batch-1of2.json", b"of a shard")
    removal_at("memory://batches", "batch.json")()
    assert memory.ls("/batches", detail=False) == ["/batches/batch-1of2.json"]
    memory.pipe_file("/batches/batch.json", b"{}")
    with pytest.raises(OutputError, match=r"batches/batch\.json: exists already, and is not the"):
        removal_at("memory://batches", "batch.json")()
    memory.rm("/batches", recursive=True)


class TestMerging:
    def test_tells_of_each_job_what_the_shard_says_that_did_it(self, tmp_path: Path) -> None:
        first, second = Shard(1, 2), Shard(2, 2)
        one = report(
            ENTRY,
            replace(ENTRY, number=2),
            replace(ENTRY, number=3, status="elsewhere"),
            shard=first,
        )
        two = report(
            replace(ENTRY, number=2, status="already done"),
            replace(ENTRY, number=3, status="failed", error="no", exit_code=3),
            replace(ENTRY, number=4, status="already done"),
            shard=second,
        )
        later = two.model_copy(update={"started": START.replace(second=10)})
        for shard, each in ((first, one), (second, later)):
            write_report(report_path(tmp_path, shard), each)
        merged = merge(tmp_path)
        assert [entry.status for entry in merged.jobs] == [
            "done",
            "done",
            "failed",
            "already done",
        ]
        assert (merged.shard, merged.rows, merged.seconds) == (None, 4, 14.0)
        assert merged.jobs[3].began == 10.0  # since the first began

    @pytest.mark.parametrize(
        ("other", "words"),
        [
            (None, "batch-2of2.json: not found; run --shard 2/2 to its end"),
            (report(shard=Shard(2, 2), status="interrupted"), "interrupted; run --shard 2/2 to"),
            (report(shard=Shard(2, 2), rows=5), "of a table of 5 videos, .*1of2.json of 4"),
            (report(shard=Shard(2, 3)), "expected a report of one of 2 shards"),
        ],
    )
    def test_needs_the_report_of_each_shard_to_its_end(
        self, tmp_path: Path, other: BatchReport | None, words: str
    ) -> None:
        write_report(report_path(tmp_path, Shard(1, 2)), report(ENTRY, shard=Shard(1, 2)))
        if other is not None:
            shard = Shard.parse(other.shard or "")
            write_report(report_path(tmp_path, shard), other)
        with pytest.raises(InputError, match=words):
            merge(tmp_path)

    def test_needs_reports(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="expected reports of shards"):
            merge(tmp_path)

    def test_refuses_a_damaged_report(self, tmp_path: Path) -> None:
        shard = Shard(2, 2)
        write_report(report_path(tmp_path, shard), report(ENTRY, shard=shard))
        (tmp_path / "batch-1of2.json").write_text("{}")
        with pytest.raises(InputError, match=r"batch-1of2\.json: expected the report of a batch"):
            merge(tmp_path)
