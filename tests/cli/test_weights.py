"""`vostool weights`, and published weights on the command line."""

import json
from pathlib import Path

import pytest
import torch

from tests.conftest import FRAMES, HEIGHT, Footage
from tests.model.published.making import STCN, STM, export, small, write
from tests.test_cli import Call, vostool  # noqa: F401
from vostool.model.checkpoint import load_checkpoint, read_header
from vostool.model.published.kinds import KINDS
from vostool.model.weights import sha256


@pytest.fixture(scope="module")
def stcn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("weights") / "stcn.pth", export(small(STCN)))


@pytest.fixture(scope="module")
def stm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("weights") / "stm.pth", export(small(STM)))


def test_list_names_the_shipped_weights_and_every_kind_that_can_be_read(
    vostool: Call,  # noqa: F811
) -> None:
    outcome = vostool("weights", "list")
    assert outcome.code == 0
    assert "(default)" in outcome.out
    for name, kind in KINDS.items():
        assert f"{name}:" in outcome.out
        assert kind.page in outcome.out
    found = json.loads(vostool("weights", "list", "--json").out)
    assert [each["default"] for each in found["shipped"]].count(True) == 1
    assert {each["kind"] for each in found["published"]} == set(KINDS)
    assert all(each["licence"] for part in found.values() for each in part)


def test_show_says_which_network_a_file_is_for(
    vostool: Call,  # noqa: F811
    stcn: Path,
) -> None:
    found = json.loads(vostool("weights", "show", stcn, "--json").out)
    assert (found["network"], found["published"]) == ("stcn", "stcn")
    assert found["settings"] == STCN.model_dump(mode="json")
    assert found["sha256"] == sha256(stcn)
    outcome = vostool("weights", "show", stcn)
    assert KINDS["stcn"].licence in outcome.out
    own = vostool("weights", "show", "default")
    assert (own.code, own.err) == (0, "")
    assert "kernel_sigma" in own.out


def test_import_writes_a_file_of_ours_with_kind_source_and_licence_in_its_card(
    vostool: Call,  # noqa: F811
    stm: Path,
    tmp_path: Path,
) -> None:
    target = tmp_path / "stm.safetensors"
    outcome = vostool("weights", "import", stm, "-o", target)
    assert (outcome.code, outcome.out) == (0, f"{target}\n")
    card = read_header(target)["card"]
    assert card == {
        "published": "stm-training-code",
        "source": "stm.pth",
        "sha256": sha256(stm),
        "licence": KINDS["stm-training-code"].licence,
        "page": KINDS["stm-training-code"].page,
    }
    assert load_checkpoint(target).settings == load_checkpoint(stm).settings
    again = vostool("weights", "import", stm, "-o", target)
    assert again.code == 7
    assert "exists already" in again.err
    assert vostool("weights", "import", stm, "-o", target, "--overwrite").code == 0
    same = vostool("weights", "import", stm, "-o", stm, "--overwrite")
    assert same.code == 2
    assert "expected another file to write" in same.err
    other = vostool("weights", "import", target, "-o", tmp_path / "other.safetensors")
    assert other.code == 2
    assert "is a file of vostool already" in other.err


def test_import_refuses_weights_too_large_for_16_bits(
    vostool: Call,  # noqa: F811
    stm: Path,
    tmp_path: Path,
) -> None:
    state = torch.load(stm)
    state["Decoder.ResMM.conv1.bias"] = torch.full((256,), 1e6)
    outcome = vostool(
        "weights", "import", write(tmp_path / "w.pth", state), "-o", tmp_path / "w.safetensors"
    )
    assert outcome.code == 6
    assert "decoder.block.conv1.bias holds values too large for 16 bits" in outcome.err
    assert not (tmp_path / "w.safetensors").exists()


@pytest.mark.parametrize("quiet", [False, True])
def test_segment_says_the_licence_on_stderr_and_in_its_report(
    quiet: bool,
    vostool: Call,  # noqa: F811
    video: Footage,
    stm: Path,
    tmp_path: Path,
) -> None:
    given = ("segment", video.path, "--mask", video.mask, "--weights", stm, "--device", "cpu")
    options = ("--size", HEIGHT, "--no-overlay", "--json", *(("--quiet",) if quiet else ()))
    outcome = vostool(*given, *options, "-o", tmp_path / "out")
    report = json.loads(outcome.out)
    assert (outcome.code, report["frames"]) == (0, FRAMES)
    licence = KINDS["stm-training-code"].licence
    assert (f"{stm}: stm-training-code, {licence}\n" in outcome.err) is not quiet
    assert report["network"]["model"] == "stm"
    assert report["network"]["published"] == "stm-training-code"
    assert report["network"]["licence"] == licence
    assert report["options"]["border"] == "black"


def test_bench_erf_and_spectrum_take_published_weights(
    vostool: Call,  # noqa: F811
    video: Footage,
    stcn: Path,
    tmp_path: Path,
) -> None:
    given = (video.path, "--mask", video.mask, "--weights", stcn, "--device", "cpu", "--size", 32)
    for command, *options in (
        ("bench", "--frames", 3, "--repeat", 1),
        ("erf", "--iters", 2, "--strip", 2, "-o", tmp_path / "erf"),
        ("spectrum", "--gc-every", 2, "--gc-iters", 1, "-o", tmp_path / "spectrum"),
    ):
        outcome = vostool(command, *given, *options)
        assert outcome.code == 0, outcome.err
        assert f"{stcn}: stcn, " in outcome.err


@pytest.mark.parametrize("command", ["segment", "erf", "weights show", "weights import"])
def test_weights_that_cannot_be_read_are_refused_in_one_line(
    command: str,
    vostool: Call,  # noqa: F811
    video: Footage,
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "w.pth", {"Encoder_M.conv1_o.weight": torch.ones(128, 1, 7, 7)})
    arguments: dict[str, tuple[object, ...]] = {
        "weights show": (path,),
        "weights import": (path, "-o", tmp_path / "w.safetensors"),
    }
    usual = (video.path, "--mask", video.mask, "--weights", path, "-o", tmp_path / "out")
    outcome = vostool(*command.split(), *arguments.get(command, usual))
    assert (outcome.code, outcome.out) == (6, "")
    assert outcome.err.count("\n") == 1
    assert "STM on ResNeSt-101 (Training-Code-of-STM), which vostool cannot run" in outcome.err
    assert not (tmp_path / "out").exists()
