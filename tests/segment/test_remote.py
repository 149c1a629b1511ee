"""Batches whose files lie at addresses; fsspec's memory:// stands for a bucket."""

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tests.conftest import FRAMES, HEIGHT, ColourNetwork, film, interrupt
from tests.segment.test_batch_table import write_table
from tests.test_cli import Call, vostool  # noqa: F401
from vostool.errors import InputError, OutputError
from vostool.files.remote import Remote
from vostool.inference.predictor import Predictor
from vostool.media.inputs import Elsewhere
from vostool.progress import no_progress
from vostool.segment.batch_table import read_batch
from vostool.segment.job import Job
from vostool.segment.remote import segment_remote
from vostool.segment.run import segment

JOB = Job(
    Elsewhere("memory://in/a.mp4", Path("a.mp4")),
    ("memory://in/a.png",),
    Path("memory:/out/a"),
    upload="memory://out/a",
)


def stored(prefix: str) -> dict[str, bytes]:
    """Return the files under a prefix in the memory, by what follows it."""
    files = fsspec.filesystem("memory").store
    return {
        name.removeprefix(prefix): file.getvalue()
        for name, file in files.items()
        if name.startswith(prefix)
    }


def empty(memory: Any) -> None:
    """Remove all that the memory holds."""
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


@pytest.fixture(autouse=True)
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A video and its mask at memory://in; whatever is fetched must be removed again."""
    memory = fsspec.filesystem("memory")
    empty(memory)
    video = film(tmp_path / "a.mp4", tmp_path / "a.png")
    for path in (video.path, video.mask):
        memory.pipe_file(f"/in/{path.name}", path.read_bytes())
    (tmp_path / "copies").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "copies"))
    yield
    assert list((tmp_path / "copies").iterdir()) == []
    empty(memory)


def test_a_remote_job_uploads_what_a_local_one_writes_and_its_report_names_addresses(
    by_colour: Predictor, tmp_path: Path
) -> None:
    report, already = segment_remote(JOB, by_colour, no_progress)
    local = Job(tmp_path / "a.mp4", (str(tmp_path / "a.png"),), tmp_path / "here", states=False)
    segment(local, by_colour)
    expected = {
        f"/{path.relative_to(local.output).as_posix()}": path.read_bytes()
        for path in local.output.rglob("*")
        if path.is_file()
    }
    found = stored("/out/a")
    assert found.keys() == expected.keys()
    assert {name for name in found if found[name] != expected[name]} == {"/run.json"}
    document = json.loads(found["/run.json"])
    assert document == report.model_dump(mode="json")
    assert (document["status"], already) == ("done", False)
    assert document["options"]["video"] == document["input"]["path"] == "memory://in/a.mp4"
    assert document["options"]["masks"] == ["memory://in/a.png"]
    assert document["options"]["output"] == "memory://out/a"
    assert document["masks"] == "memory://out/a/masks"
    assert str(tmp_path / "copies") not in found["/run.json"].decode()


def test_a_remote_job_that_is_done_by_the_same_options_is_not_repeated(
    by_colour: Predictor,
) -> None:
    report, _ = segment_remote(JOB, by_colour, no_progress)
    fsspec.filesystem("memory").rm("/in/a.mp4")
    assert segment_remote(JOB, by_colour, no_progress) == (report, True)
    with pytest.raises(OutputError, match="memory://out/a: holds a result already"):
        segment_remote(replace(JOB, start=1), by_colour, no_progress)


def test_a_remote_job_whose_upload_was_cut_off_is_done_again_without_what_is_stale(
    by_colour: Predictor,
) -> None:
    segment_remote(JOB, by_colour, no_progress)
    memory = fsspec.filesystem("memory")
    whole = stored("/out/a")
    memory.pipe_file("/out/a/run.json", whole["/run.json"].replace(b'"done"', b'"running"'))
    memory.pipe_file(f"/out/a/masks/{FRAMES:05d}.png", b"stale")
    memory.pipe_file("/out/a/notes.txt", b"of somebody else")
    _, already = segment_remote(JOB, by_colour, no_progress)
    assert not already
    assert stored("/out/a").keys() - whole.keys() == {"/notes.txt"}
    assert json.loads(stored("/out/a")["/run.json"])["status"] == "done"


def test_a_remote_job_does_not_replace_what_no_report_accounts_for(by_colour: Predictor) -> None:
    fsspec.filesystem("memory").pipe_file("/out/a/masks/00000.png", b"of somebody else")
    with pytest.raises(OutputError, match="memory://out/a: holds a result already"):
        segment_remote(JOB, by_colour, no_progress)
    segment_remote(replace(JOB, overwrite=True), by_colour, no_progress)
    assert stored("/out/a")["/masks/00000.png"] != b"of somebody else"


def test_errors_of_a_remote_job_name_its_addresses(by_colour: Predictor) -> None:
    fsspec.filesystem("memory").pipe_file("/in/a.mp4", b"no video")
    with pytest.raises(InputError, match=r"^memory://in/a\.mp4: ") as refusal:
        segment_remote(JOB, by_colour, no_progress)
    assert "vostool-" not in str(refusal.value)
    missing = replace(JOB, masks=("7:memory://in/none.png",))
    with pytest.raises(InputError, match=r"^memory://in/none\.png: cannot be fetched: No such"):
        segment_remote(missing, by_colour, no_progress)
    assert stored("/out/") == {}


def test_an_interrupted_remote_job_says_that_nothing_is_kept(
    by_colour: Predictor,
) -> None:
    stopped = replace(by_colour, network=ColourNetwork(3, interrupt))
    with pytest.raises(KeyboardInterrupt) as stop:
        segment_remote(JOB, stopped, no_progress)
    assert stop.value.__notes__ == ["nothing is kept of a video that lies elsewhere"]
    assert stored("/out/") == {}


def test_a_job_with_remote_inputs_may_write_to_a_folder_here(
    by_colour: Predictor, tmp_path: Path
) -> None:
    job = replace(JOB, output=tmp_path / "all" / "a", upload=None)
    report, _ = segment_remote(job, by_colour, no_progress)
    assert report.outputs["masks"] == str(tmp_path / "all" / "a" / "masks")
    assert len(list((tmp_path / "all" / "a" / "masks").iterdir())) == FRAMES
    assert not (tmp_path / "all" / "a" / ".claim").exists()
    assert segment_remote(job, by_colour, no_progress) == (report, True)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_what_is_uploaded_to_a_folder_here_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    copy, target = tmp_path / "copy.json", tmp_path / "all" / "run.json"
    copy.write_text("new")
    folder = Remote.at(f"{scheme}{target.parent}")
    folder.upload({"run.json": copy, "masks/0.png": copy})
    assert (target.parent / "masks" / "0.png").read_text() == "new"
    target.write_text("old")

    def fill_the_disk(source: Path, copied: Path) -> None:
        copied.write_text("n")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vostool.files.remote.shutil.copyfile", fill_the_disk)
    with pytest.raises(OutputError, match=r"run\.json: cannot be written: No space left"):
        folder.upload({"run.json": copy})
    assert target.read_text() == "old"
    assert sorted(path.name for path in target.parent.iterdir()) == ["masks", "run.json"]


def test_a_table_may_name_addresses_beside_paths(tmp_path: Path) -> None:
    table = write_table(
        tmp_path / "t.csv",
        "video,mask,output",
        "memory://in/a.mp4,memory://in/a.png;7:b.png,",
        "memory://in/shot.v1/,memory://in/masks/,",
        "b.mp4,b.png,x/y",
    )
    template = replace(JOB, output=Path("memory:/out"), upload="memory://out/")
    first, second, third = read_batch(table, template)
    assert str(first.video) == "memory://in/a.mp4"
    assert first.masks == ("memory://in/a.png", f"7:{tmp_path / 'b.png'}")
    assert [job.upload for job in (first, second, third)] == [
        "memory://out/a",
        "memory://out/shot.v1",
        "memory://out/x/y",
    ]


class TestTheCommand:
    @pytest.fixture(autouse=True)
    def by_colour(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("vostool.inference.loading.load_checkpoint", lambda *_: ColourNetwork())

    def test_segments_from_addresses_to_addresses(
        self,
        vostool: Call,  # noqa: F811
        weights: Path,
        tmp_path: Path,
    ) -> None:
        table = write_table(
            tmp_path / "t.csv", "video,mask,output", "memory://in/a.mp4,memory://in/a.png,x"
        )
        model = ("--weights", weights, "--device", "cpu", "--size", HEIGHT)
        outcome = vostool("segment", "--batch", table, "-o", "memory://out", *model)
        assert outcome.code == 0
        assert outcome.out.splitlines() == ["memory://out/x/masks", "memory://out/x/overlay.mp4"]
        again = vostool("segment", "--batch", table, "-o", "memory://out", *model)
        assert "already done" in again.err
        (job,) = json.loads(stored("/out")["/batch.json"])["jobs"]
        assert (job["output"], job["status"]) == ("memory://out/x", "already done")
        assert [path.name for path in Path().iterdir()] == []

    def test_refuses_a_foreign_report_at_an_address_before_any_work(
        self,
        vostool: Call,  # noqa: F811
        weights: Path,
        tmp_path: Path,
    ) -> None:
        fsspec.filesystem("memory").pipe_file("/out/batch.json", b"[]")
        table = write_table(tmp_path / "t.csv", "video,mask", "memory://in/a.mp4,memory://in/a.png")
        model = ("--weights", weights, "--device", "cpu", "--size", HEIGHT)
        command = ("segment", "--batch", table, "-o", "memory://out", *model)
        outcome = vostool(*command)
        assert outcome.code == 7
        assert outcome.err == (
            "vostool: memory://out/batch.json: exists already, and is not the report of a batch; "
            "choose another -o or give --overwrite\n"
        )
        assert stored("/out") == {"/batch.json": b"[]"}
        assert vostool(*command, "--overwrite").code == 0
        assert json.loads(stored("/out")["/batch.json"])["totals"]["done"] == 1

    def test_does_not_merge_reports_at_an_address(
        self,
        vostool: Call,  # noqa: F811
        tmp_path: Path,
    ) -> None:
        table = write_table(tmp_path / "t.csv", "video,mask", "a.mp4,a.png")
        outcome = vostool("segment", "--batch", table, "-o", "memory://out", "--merge")
        assert outcome.code == 2
        assert outcome.err.startswith("vostool: --merge -o memory://out: expected a folder on this")

    def test_refuses_an_address_without_batch(
        self,
        vostool: Call,  # noqa: F811
        tmp_path: Path,
    ) -> None:
        given = (tmp_path / "a.mp4", "-m", tmp_path / "a.png", "-o", "memory://out")
        outcome = vostool("segment", *given)
        assert outcome.code == 2
        assert outcome.err.startswith("vostool: -o memory://out: only --batch writes to an address")

    @pytest.mark.parametrize("output", ["out", "s3://bucket/out"])
    def test_names_the_package_that_an_address_needs(
        self,
        vostool: Call,  # noqa: F811
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        output: str,
    ) -> None:
        monkeypatch.setitem(sys.modules, "s3fs", None)
        table = write_table(tmp_path / "t.csv", "video,mask", "s3://bucket/a.mp4,a.png")
        outcome = vostool("segment", "--batch", table, "-o", output)
        assert outcome.code == 2
        assert outcome.err.endswith(": needs s3fs, install it: pip install s3fs\n")
        assert outcome.err.startswith("vostool: s3://bucket/")
