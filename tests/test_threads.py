import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vostool import threads
from vostool.threads import available_cores, idle_cores, limit_threads, thread_count


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of the root of cgroups, empty, and 8 cores by affinity."""
    monkeypatch.setattr(threads, "CGROUP", tmp_path)
    monkeypatch.setattr(threads, "OWN_CGROUP", tmp_path / "own")
    cores = "process_cpu_count" if hasattr(os, "process_cpu_count") else "sched_getaffinity"
    found = 8 if cores == "process_cpu_count" else set(range(8))
    monkeypatch.setattr(os, cores, lambda *_: found, raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("50000 100000", 1),
        ("250000 100000", 2),
        ("1600000 100000", 8),
        ("nonsense", 8),
        ("", 8),
        ("100000 0", 8),
    ],
)
def test_a_quota_limits_the_available_cores(cgroup: Path, limit: str, cores: int) -> None:
    (cgroup / "cpu.max").write_text(limit)
    assert available_cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("300000", 3)])
def test_a_quota_of_the_first_kind_of_cgroup_does_too(cgroup: Path, quota: str, cores: int) -> None:
    (cgroup / "cpu").mkdir()
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (cgroup / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert available_cores() == cores


def test_the_lowest_quota_of_the_own_cgroup_and_those_around_it_counts(cgroup: Path) -> None:
    (cgroup / "own").write_text("1:name=systemd:/elsewhere\n0::/user.slice/run.scope\n")
    quotas = {"user.slice": "300000", "user.slice/run.scope": "max", "elsewhere": "100000"}
    for name, quota in quotas.items():
        (cgroup / name).mkdir()
        (cgroup / name / "cpu.max").write_text(f"{quota} 100000")
    assert available_cores() == 3
    (cgroup / "user.slice" / "run.scope" / "cpu.max").write_text("200000 100000")
    assert available_cores() == 2


def test_without_a_cgroup_the_affinity_decides(cgroup: Path) -> None:
    assert available_cores() == 8


@pytest.mark.parametrize(
    ("load", "idle"),
    [("0.1 0.1 0.1 1/300 99", 4), ("9 9 9 3/300 99", 2), ("0 0 0 9/300 99", -4), ("0 0", 4)],
)
def test_cores_that_others_keep_busy_now_are_not_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: str, idle: int
) -> None:
    (tmp_path / "loadavg").write_text(load)
    monkeypatch.setattr(threads, "LOAD", tmp_path / "loadavg")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert idle_cores() == idle


@pytest.mark.parametrize(("idle", "expected"), [(3, "3"), (99, "8"), (-4, "1")])
def test_automatically_there_is_a_thread_for_each_idle_core_that_is_available(
    cgroup: Path, monkeypatch: pytest.MonkeyPatch, idle: int, expected: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "")  # also if it is not set: it is put back afterwards
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(threads, "idle_cores", lambda: idle)
    limit_threads(None)
    assert os.environ["OMP_NUM_THREADS"] == expected


def test_the_number_of_the_environment_counts_unless_another_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    limit_threads(None)
    assert (thread_count(), torch.get_num_threads()) == (3, before)
    try:
        limit_threads(2)
        assert (thread_count(), torch.get_num_threads()) == (2, 2)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("stated", ["", "0", "-1", "many"])
def test_a_number_in_the_environment_that_is_none_is_ignored(
    monkeypatch: pytest.MonkeyPatch, cgroup: Path, stated: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", stated)
    assert thread_count() == 8


def test_torch_takes_the_number_that_was_set_before_it_was_imported() -> None:
    code = (
        "import sys; from vostool.threads import limit_threads; limit_threads(2)\n"
        "assert 'torch' not in sys.modules\n"
        "import torch; print(torch.get_num_threads())"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    assert int(done.stdout) == min(2, os.cpu_count() or 1)
