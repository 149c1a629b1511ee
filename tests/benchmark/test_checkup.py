import json
import shutil
import tomllib
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from tests.test_cli import Call, vostool  # noqa: F401
from vostool.benchmark import checkup
from vostool.benchmark.checkup import Checkup, examine
from vostool.errors import WeightsError

Usage = namedtuple("Usage", "total used free")


def problems(found: Checkup) -> dict[str, tuple[str | None, int]]:
    return {each.name: (each.problem, each.exit_code) for each in found.checks if each.problem}


def test_a_sound_installation_has_no_problem() -> None:
    found = examine("cpu")
    assert problems(found) == {}
    assert found.exit_code == 0
    names = [check.name for check in found.checks]
    assert names[0] == "vostool"
    assert {"torch", "cpu", "reads", "writes", "weights", "disk, here", "self-test"} <= set(names)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("int8", [False, True])
def test_a_cpu_that_is_faster_in_8_bits_is_told(
    bf16: bool, int8: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vostool.device.cpu_has_bf16", lambda: bf16)
    monkeypatch.setattr("vostool.benchmark.checkup.cpu_has_int8", lambda: int8)
    *_, device = checkup.devices("cpu")
    assert ("--precision int8" in device.found) == (int8 and not bf16)


def test_every_package_that_vostool_depends_on_is_looked_for() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    needed = {words.split(">=")[0] for words in project["dependencies"]}
    assert set(checkup.PACKAGES) - set(checkup.OPTIONAL) == needed


def test_each_problem_is_told_with_its_remedy_and_the_first_gives_the_exit_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkup, "WRITTEN", ("libx264", "no-such-codec"))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10, 9, 1))
    monkeypatch.setattr(checkup, "overlap", lambda labels, truth: 0.3)
    monkeypatch.setattr(checkup, "FRAMES", 2)
    found = examine("cpu")
    assert set(problems(found)) == {"writes", "disk, here", "disk, temporary", "self-test"}
    assert "no no-such-codec: overlay.mp4 cannot" in (problems(found)["writes"][0] or "")
    assert "try another --device" in (problems(found)["self-test"][0] or "")
    assert found.exit_code == 7


def test_what_fails_does_not_keep_the_rest_from_being_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> Path:
        raise WeightsError("no weights")

    def broken(index: float) -> None:
        raise ArithmeticError("the moon")

    monkeypatch.setattr(checkup, "find_weights", missing)
    monkeypatch.setattr(checkup, "render_frame", broken)
    found = examine("cpu")
    assert problems(found) == {
        "weights": ("no weights", 6),
        "internal error": ("ArithmeticError: the moon", 1),
    }
    assert found.exit_code == 6
    assert "disk, here" in [check.name for check in found.checks]


def test_a_device_that_is_absent_is_a_problem_of_the_device() -> None:
    found = examine("cuda:77")
    assert {code for _, code in problems(found).values()} == {5}


def test_the_command_prints_every_check_and_exits_as_the_first_problem(
    vostool: Call,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkup, "self_test", lambda device: iter(()))
    sound = vostool("doctor")
    assert sound.code == 0
    assert "weights" in sound.out
    assert "problem" not in sound.out
    monkeypatch.setattr(checkup, "WRITTEN", ("no-such-codec",))
    outcome = vostool("doctor", "--json")
    assert outcome.code == 7
    document = json.loads(outcome.out)
    assert document["exit_code"] == 7
    assert [each["name"] for each in document["checks"] if each["problem"]] == ["writes"]


def test_the_overlap_is_that_of_every_object() -> None:
    truth = np.array([[0, 1, 1, 2]], np.uint8)
    assert checkup.overlap(truth, truth) == 1
    assert checkup.overlap(np.array([[0, 1, 2, 2]], np.uint8), truth) == pytest.approx(2 / 3)
