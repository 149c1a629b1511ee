"""Published checkpoints: recognised by their keys, read without running their code."""

import collections
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.model.published.making import State, write
from vostool.errors import WeightsError
from vostool.model.checkpoint import load_checkpoint, read_published
from vostool.model.published.reading import is_pytorch, read_state, recognise


def refusal(path: Path) -> str:
    """Return the message with which a file is refused: one line that names it."""
    with pytest.raises(WeightsError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


class RunsCode:
    """What a malicious file holds: reading it as a pickle creates a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.canary,)


@pytest.mark.parametrize("kind", ["stm-training-code", "stm-cycle", "stcn", "xmem"])
def test_the_kind_of_published_weights_is_recognised_by_their_names(
    kind: str, states: dict[str, State]
) -> None:
    assert recognise(Path("w"), states[kind]) == kind


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {"epoch": 240, "state_dict": state, "max_skip": [50, 10]},
        lambda state: {"it": 3, "network": state, "optimizer": {"state": {}}, "scheduler": {}},
        lambda state: {"model": {f"module.{name}": value for name, value in state.items()}},
        collections.OrderedDict,
        lambda state: {"model": {"state_dict": state}, "epoch": 3},
    ],
    ids=["prefix", "state_dict", "training", "both", "ordered", "twice"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_are_read_from_any_wrapping_and_either_format(
    wrap: Callable[[State], object], zipped: bool, states: dict[str, State], tmp_path: Path
) -> None:
    path, expected = tmp_path / "a name that says nothing", states["stm-cycle"]
    torch.save(wrap(expected), path, _use_new_zipfile_serialization=zipped)
    assert is_pytorch(path)
    found = read_state(path)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_and_its_code_not_run(zipped: bool, tmp_path: Path) -> None:
    canary, path = tmp_path / "canary", tmp_path / "w.pth"
    content = {"weights": torch.ones(2), "more": RunsCode(canary)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert "needs code of its own to be read, which is never run" in refusal(path)
    path.write_bytes(pickle.dumps(RunsCode(canary), protocol=4))
    refusal(path)
    assert not canary.exists()
    pickle.loads(pickle.dumps(RunsCode(canary)))
    assert canary.exists(), "the code would have shown that it was run"


def test_a_pickled_network_and_a_script_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(nn.Linear(2, 2), path)
    assert "a state dict" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/data.pkl", b"")
        archive.writestr("w/constants.pkl", b"")
        archive.writestr("w/version", b"3")
    refusal(path)


def test_a_training_checkpoint_with_numpy_numbers_asks_for_the_weights_alone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "w.pth"
    torch.save({"network": {"w": torch.ones(2)}, "loss": np.float64(1.0)}, path)
    assert "expected a file of weights alone" in refusal(path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0001, 0.5, 0.99])
def test_a_checkpoint_cut_short_is_refused(
    zipped: bool, share: float, states: dict[str, State], tmp_path: Path
) -> None:
    path = tmp_path / "w.pth"
    state = {f"layer.{number}": torch.ones(1000) for number in range(20)}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: max(16, int(share * len(content)))])
    assert "damaged" in refusal(path)


@pytest.mark.parametrize(
    "start", [b"PK\x03\x04", b"\x80\x02", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P"]
)
def test_a_file_that_only_begins_like_a_checkpoint_is_refused(start: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    for rest in (b"", bytes(200), b"\xff" * 200):
        path.write_bytes(start + rest)
        refusal(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([torch.ones(2)], "expected a table of weights by name, found list"),
        (torch.ones(2), "expected a table of weights by name, found Tensor"),
        ({"epoch": 3}, "expected weights by name, found 1 names: epoch"),
        ({}, "expected weights by name, found 0 names"),
        ({3: torch.ones(2)}, "expected weights by name"),
        ({"a": torch.ones(2), "b": torch.ones(2)}, "an unknown network (2 names: a, b)"),
        ({"aspp.0.weight": torch.ones(2), "Encoder_M.x": torch.ones(2)}, "STM on ResNeSt-101"),
        ({"Encoder_M.conv1_o.weight": torch.ones(128, 1, 7, 7)}, "STM on ResNeSt-101"),
        ({"object_transformer.x": torch.ones(2)}, "Cutie, which vostool cannot run"),
        ({"mask_rgb_encoder.x": torch.ones(2)}, "MiVOS, which vostool cannot run"),
        (
            {"layer1.0.conv1.weight": torch.ones(2), "fc.weight": torch.ones(2)},
            "an image classifier of torchvision",
        ),
    ],
)
def test_a_checkpoint_of_no_known_network_is_refused_with_what_was_found(
    content: object, words: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "w.pth")
    assert words in refusal(tmp_path / "w.pth")


NAMES = {
    "stm-training-code": "Encoder_Q.res3.1.bn2.running_var",
    "stm-cycle": "Encoder_M.conv1.weight",
    "stcn": "value_encoder.layer2.0.conv1.bias",
    "xmem": "decoder.hidden_update.g8_conv.weight",
}


@pytest.mark.parametrize(("kind", "name"), NAMES.items())
class TestWeight:
    def test_a_missing_weight_is_named(
        self, kind: str, name: str, changed: Callable[..., Path]
    ) -> None:
        assert f"{name} is missing" in refusal(changed(kind, **{name: None}))

    def test_a_weight_of_another_shape_is_named_with_both_shapes(
        self, kind: str, name: str, changed: Callable[..., Path], states: dict[str, State]
    ) -> None:
        expected = tuple(states[kind][name].shape)
        message = refusal(changed(kind, **{name: torch.ones(3, 5)}))
        assert f"{name}: expected the shape {expected}, found (3, 5)" in message

    def test_a_weight_that_is_not_finite_is_named(
        self, kind: str, name: str, changed: Callable[..., Path], states: dict[str, State]
    ) -> None:
        value = states[kind][name].clone()
        value.view(-1)[-1] = float("nan")
        message = refusal(changed(kind, **{name: value}))
        assert f"{name} holds values that are not finite" in message

    def test_a_weight_of_whole_numbers_is_named(
        self, kind: str, name: str, changed: Callable[..., Path], states: dict[str, State]
    ) -> None:
        message = refusal(changed(kind, **{name: states[kind][name].int()}))
        assert f"{name}: expected plain floating-point numbers" in message

    def test_an_unexpected_weight_is_named(
        self, kind: str, name: str, changed: Callable[..., Path]
    ) -> None:
        assert "extra.weight is unexpected" in refusal(
            changed(kind, **{"extra.weight": torch.ones(2)})
        )


def test_a_weight_that_claims_more_numbers_than_the_file_holds_is_refused(
    changed: Callable[..., Path], states: dict[str, State]
) -> None:
    name = "Decoder.ResMM.conv1.weight"
    value = torch.ones(1).expand(states["stm-training-code"][name].shape)
    assert name in refusal(changed(**{name: value}))


@pytest.mark.parametrize("name", ["KV_M_r4.Key.weight", "KV_M_r4.Value.weight"])
@pytest.mark.parametrize(
    "value",
    [
        torch.ones(0, 256, 3, 3),
        torch.ones(8),
        torch.ones(8, 256, 3, 3).to_sparse(),
        torch.ones(8, 256, 3, 3, device="meta"),
    ],
    ids=["empty", "flat", "sparse", "meta"],
)
def test_keys_and_values_of_no_width_or_kind_are_refused(
    name: str, value: torch.Tensor, changed: Callable[..., Path]
) -> None:
    refusal(changed(**{name: value}))


def test_a_checkpoint_without_counts_of_batches_is_read(
    states: dict[str, State], tmp_path: Path
) -> None:
    state = {name: value for name, value in states["stcn"].items() if "tracked" not in name}
    torch.save(state, tmp_path / "w.pth")
    read_published(tmp_path / "w.pth")


def test_safetensors_whose_header_has_a_length_like_the_start_of_a_pickle_are_not_taken_for_one(
    tmp_path: Path,
) -> None:
    path = tmp_path / "w.safetensors"
    for length in range(400):
        save_file({"w": torch.ones(2)}, path, metadata={"padding": "x" * length})
        if path.read_bytes()[:1] == b"\x80":
            break
    assert path.read_bytes()[:1] == b"\x80"
    assert not is_pytorch(path)
    assert "no vostool weights" in refusal(path)


def test_a_compressed_checkpoint_is_refused_before_it_fills_the_memory(
    states: dict[str, State], tmp_path: Path
) -> None:
    whole, path = write(tmp_path / "whole.pth", states["stm-cycle"]), tmp_path / "w.pth"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in source.namelist():
            file.writestr(name, source.read(name))
    assert "compressed, which files of torch.save never are" in refusal(path)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to")],
    ids=["python", "torch"],
)
def test_out_of_memory_while_a_checkpoint_is_read_is_not_called_damage(
    error: Exception, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "load", Mock(side_effect=error))
    with pytest.raises(type(error)) as caught:
        read_state(files["stm-cycle"])
    assert caught.value is error
