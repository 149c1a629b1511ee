import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.conftest import wait_for
from vostool.errors import OutputError
from vostool.files import claims
from vostool.files.claims import (
    CLAIM,
    HEARTBEAT,
    STALE,
    Holder,
    claimed,
    is_alive,
    refuse_claimed,
    refuse_to_replace,
)


def leave_claim(folder: Path, holder: Holder, age: float = 0.0) -> None:
    """Leave what a process that was killed leaves, renewed some seconds ago."""
    folder.mkdir(exist_ok=True)
    path = folder / CLAIM
    path.write_text(json.dumps(asdict(holder)))
    seconds = path.stat().st_mtime - age
    os.utime(path, (seconds, seconds))


def ended_process() -> int:
    """Return the id of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def elsewhere() -> Holder:
    return replace(Holder.here(), host="another.example", pid=1)


def test_a_claimed_folder_is_refused_to_others_who_are_told_whose_it_is(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with claimed(out):
        words = f"another vostool is at work in it, process {os.getpid()} on "
        with pytest.raises(OutputError, match=words), claimed(out):
            pass
        assert [path.name for path in out.iterdir()] == [CLAIM]
    with claimed(out):
        (out / "result").touch()
    assert [path.name for path in out.iterdir()] == ["result"]


def test_a_folder_that_a_claim_made_goes_with_it_if_it_stays_empty(tmp_path: Path) -> None:
    with claimed(tmp_path / "out"):
        pass
    assert not (tmp_path / "out").exists()


def test_a_claim_of_a_killed_process_of_this_host_is_void_at_once(tmp_path: Path) -> None:
    leave_claim(tmp_path, replace(Holder.here(), pid=ended_process()))
    with claimed(tmp_path):
        assert json.loads((tmp_path / CLAIM).read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("holder", [elsewhere(), Holder.here()])
def test_a_claim_without_a_heartbeat_is_void_after_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder: Holder
) -> None:
    assert STALE == 60
    monkeypatch.setattr(claims, "STALE", 100 * STALE)  # a margin, should this take long
    leave_claim(tmp_path, holder, age=80 * STALE)
    with pytest.raises(OutputError, match=f"process {holder.pid} on {holder.host}"):
        claimed(tmp_path).__enter__()
    leave_claim(tmp_path, holder, age=101 * STALE)
    with claimed(tmp_path):
        pass


def test_an_id_in_another_namespace_of_processes_says_nothing(tmp_path: Path) -> None:
    leave_claim(tmp_path, replace(Holder.here(), pid=ended_process(), pid_namespace="pid:[7]"))
    with pytest.raises(OutputError, match="another vostool is at work"):
        claimed(tmp_path).__enter__()


@pytest.mark.parametrize("content", ["", "[]", '{"pid": "x"}', '{"colour": 1}', "[" * 10**5])
def test_a_damaged_claim_holds_until_it_is_old(tmp_path: Path, content: str) -> None:
    (tmp_path / CLAIM).write_text(content)
    with pytest.raises(OutputError, match="another vostool is at work"):
        claimed(tmp_path).__enter__()
    os.utime(tmp_path / CLAIM, (0, 0))
    with claimed(tmp_path):
        pass


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("nowhere")])
def test_a_claim_that_is_no_file_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / CLAIM)
    with pytest.raises(OutputError, match="expected a file, found a link, a pipe or a folder"):
        claimed(tmp_path).__enter__()
    with pytest.raises(OutputError, match="expected a file"):
        refuse_claimed(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [CLAIM]


def test_only_one_may_take_over_a_void_claim(tmp_path: Path) -> None:
    void = replace(Holder.here(), pid=ended_process())
    leave_claim(tmp_path, void)
    leave_claim(tmp_path, void)
    right = tmp_path / f"{CLAIM}.{void.token}.over"
    right.write_text(json.dumps(asdict(Holder.here())))
    with pytest.raises(OutputError, match="another vostool is at work"):
        claimed(tmp_path).__enter__()
    right.write_text(json.dumps(asdict(replace(void, token="other"))))  # it was killed meanwhile
    with claimed(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_claim_that_was_read_as_void_is_left_to_who_took_it_over(tmp_path: Path) -> None:
    void, new = replace(Holder.here(), pid=ended_process()), Holder.here()
    leave_claim(tmp_path, new)  # since it was read
    part = tmp_path / "part"
    part.touch()
    with pytest.raises(OutputError, match="has just begun work"):
        claims.take_over(tmp_path / CLAIM, part, void, Holder.here())
    assert json.loads((tmp_path / CLAIM).read_text())["token"] == new.token


def test_a_claim_holds_where_a_file_system_has_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*paths: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with (
        claimed(tmp_path),
        pytest.raises(OutputError, match=f"process {os.getpid()}"),
        claimed(tmp_path),
    ):
        pass


def test_a_heartbeat_renews_the_claim_and_notices_who_took_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT", 0.01)
    assert HEARTBEAT < STALE / 5
    with claimed(tmp_path) as claim:
        os.utime(claim.path, (0, 0))
        wait_for(lambda: claim.path.stat().st_mtime > 0)
        claim.check()
        leave_claim(tmp_path, elsewhere())
        wait_for(claim._lost.is_set)
        with pytest.raises(OutputError, match="its claim was lost"):
            claim.check()
    assert (tmp_path / CLAIM).exists(), "it is another's"


def test_this_process_is_alive_and_an_ended_one_is_not() -> None:
    assert is_alive(os.getpid())
    assert not is_alive(ended_process())


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_process_that_has_ended_unnoticed_is_not_alive() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    wait_for(lambda: " Z " in Path(f"/proc/{process.pid}/stat").read_text())
    assert not is_alive(process.pid)
    process.wait()


def test_what_is_there_is_not_replaced(tmp_path: Path) -> None:
    refuse_to_replace([tmp_path / "a"])
    (tmp_path / "a").symlink_to("nowhere")
    with pytest.raises(OutputError, match=r"a: exists already; choose another -o or give --over"):
        refuse_to_replace([tmp_path / "b", tmp_path / "a"])
    with pytest.raises(OutputError, match=r"a: exists already; go away$"):
        refuse_to_replace([tmp_path / "a"], "go away")


def test_a_name_that_is_too_long_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written: File name too long"):
        claimed(tmp_path / ("x" * 300)).__enter__()
