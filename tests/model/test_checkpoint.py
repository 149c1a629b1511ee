import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import TINY, Scene
from vostool.errors import UsageError, WeightsError
from vostool.model.checkpoint import (
    begin_from,
    load_checkpoint,
    load_stm,
    read_header,
    save_checkpoint,
)
from vostool.model.stm import Stm
from vostool.model.stm_settings import StmSettings

Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], object]


@pytest.fixture(scope="session")
def saved(untrained: Stm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_checkpoint(path, untrained, {"steps": 7})
    return path


def refusal(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load_stm(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def altered(saved: Path, path: Path, change: Change) -> Path:
    """Write a copy of the weights with another header or other tensors."""
    header, state = read_header(saved), load_file(saved)
    change(header, state)
    save_file(state, path, metadata={"vostool": json.dumps(header)})
    return path


def test_an_option_that_no_network_can_have_is_a_usage_error(saved: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_checkpoint(saved, changes={"top_k": 2**31})
    expected = "top_k 2.14748e+09: expected less than 2^31"
    assert str(caught.value) == f"options for {saved}: {expected}"


class TestRoundTrip:
    def test_rebuilds_settings_and_answers(self, saved: Path, untrained: Stm, clip: Scene) -> None:
        rebuilt = load_stm(saved)
        assert rebuilt.settings == untrained.settings
        assert not rebuilt.training
        with torch.no_grad():
            answers = []
            for network in (untrained, rebuilt):
                memory = network.memorize(network.encode(clip.images[0]), clip.masks[0])
                answers.append(network.segment(network.encode(clip.images[1]), memory))
        # 16 bits keep 11 of a weight's bits
        torch.testing.assert_close(answers[1], answers[0], rtol=0.02, atol=0.02)

    def test_keeps_every_weight_to_16_bits_and_widens_it(self, saved: Path, untrained: Stm) -> None:
        for (name, weight), kept in zip(
            untrained.state_dict().items(),
            load_stm(saved).state_dict().values(),
            strict=True,
        ):
            assert kept.dtype == torch.float32, name
            torch.testing.assert_close(kept, weight, rtol=1e-3, atol=1e-6)

    def test_keeps_the_card(self, saved: Path) -> None:
        assert read_header(saved)["card"] == {"steps": 7}

    def test_leaves_no_part_beside_it(self, saved: Path) -> None:
        assert [path.name for path in saved.parent.iterdir()] == ["tiny.safetensors"]


class TestRefusals:
    def test_a_missing_file(self, tmp_path: Path) -> None:
        assert "no such weights file" in refusal(tmp_path / "w.safetensors")

    def test_a_folder(self, tmp_path: Path) -> None:
        assert "no such weights file" in refusal(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"weights", bytes(64), b"\xff" * 64])
    def test_something_else_than_safetensors(self, content: bytes, tmp_path: Path) -> None:
        path = tmp_path / "w.safetensors"
        path.write_bytes(content)
        assert "not a safetensors file" in refusal(path)

    def test_a_file_cut_short(self, saved: Path, tmp_path: Path) -> None:
        path = tmp_path / "w.safetensors"
        path.write_bytes(saved.read_bytes()[:100_000])
        assert "not a safetensors file" in refusal(path)

    def test_safetensors_of_another_program(self, tmp_path: Path) -> None:
        path = tmp_path / "w.safetensors"
        save_file({"weight": torch.ones(2)}, path)
        assert "no vostool weights" in refusal(path)
        save_file({"weight": torch.ones(2)}, path, metadata={"format": "pt"})
        assert "no vostool weights" in refusal(path)

    @pytest.mark.parametrize(
        "header",
        ["{", '{"format": ' + "9" * 5000 + "}", "[" * 100_000],
        ids=["cut", "long", "deep"],
    )
    def test_metadata_that_are_not_json(self, header: str, tmp_path: Path) -> None:
        path = tmp_path / "w.safetensors"
        save_file({"weight": torch.ones(2)}, path, metadata={"vostool": header})
        assert "not JSON" in refusal(path)

    @pytest.mark.parametrize("header", ["[1]", "3", "null", '"text"'])
    def test_metadata_that_are_no_table(self, header: str, tmp_path: Path) -> None:
        path = tmp_path / "w.safetensors"
        save_file({"weight": torch.ones(2)}, path, metadata={"vostool": header})
        refusal(path)

    def test_another_format(self, saved: Path, tmp_path: Path) -> None:
        path = altered(saved, tmp_path / "w", lambda header, state: header.update(format=99))
        assert "weights of format 99, this vostool reads format 1" in refusal(path)

    @pytest.mark.parametrize(
        "settings",
        [
            {"backbone": "vgg"},
            {"key_channels": -1},
            {"short_side": 20_000},
            {"value_channels": 2**63},
            {"decoder_channels": [16, 8, 10**30]},
            {"decoder_channels": [16, 8, 0]},
            {"top_k": 2**31},
            {"kernel_sigma": float("inf")},
            {"annotated_weight": 0.0},
            {"annotated_weight": 2.0, "similarity": "dot"},
            {"unheard_of": 1},
            [],
            None,
        ],
    )
    def test_settings_that_no_network_has(
        self, settings: object, saved: Path, tmp_path: Path
    ) -> None:
        path = altered(
            saved, tmp_path / "w", lambda header, state: header.update(settings=settings)
        )
        assert "network settings" in refusal(path)

    @pytest.mark.parametrize("network", ["vgg", "", None, 3, [], {}])
    def test_a_network_that_is_unknown(self, network: object, saved: Path, tmp_path: Path) -> None:
        path = altered(saved, tmp_path / "w", lambda header, state: header.update(network=network))
        assert "this vostool knows stm, stcn, xmem" in refusal(path)

    def test_wrong_settings_in_one_line(self, saved: Path, tmp_path: Path) -> None:
        path = altered(
            saved, tmp_path / "w", lambda header, state: header.update(settings={"backbone": "vgg"})
        )
        assert len(refusal(path).splitlines()) == 1

    def test_no_settings(self, saved: Path, tmp_path: Path) -> None:
        path = altered(saved, tmp_path / "w", lambda header, state: header.pop("settings"))
        assert "settings" in refusal(path)

    def test_missing_weights(self, saved: Path, tmp_path: Path) -> None:
        path = altered(saved, tmp_path / "w", lambda header, state: state.pop("query_key.weight"))
        message = refusal(path)
        assert "query_key.weight" in message
        assert len(message.splitlines()) == 1

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e6])
    @pytest.mark.parametrize("name", ["decoder.head.weight", "memory_value.bias"])
    def test_weights_that_are_not_finite(
        self, name: str, value: float, saved: Path, tmp_path: Path
    ) -> None:
        def change(header: dict[str, Any], state: dict[str, torch.Tensor]) -> None:
            state[name].view(-1)[-1] = value  # -1e6 is infinite in 16 bits

        message = refusal(altered(saved, tmp_path / "w", change))
        assert name in message
        assert "not finite" in message

    def test_weights_of_settings_too_wide_take_no_memory_for_them(
        self, saved: Path, tmp_path: Path
    ) -> None:
        resource = pytest.importorskip("resource")

        def widen(header: dict[str, Any], state: dict[str, torch.Tensor]) -> None:
            header["settings"]["key_channels"] = 2**17  # 1.2 GB of each of two convolutions

        path = altered(saved, tmp_path / "wide.safetensors", widen)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert "size mismatch" in refusal(path)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 500_000  # kB

    @pytest.mark.parametrize("kind", [torch.int16, torch.complex64, torch.float8_e4m3fn])
    def test_weights_that_are_no_plain_floating_point_numbers(
        self, kind: torch.dtype, saved: Path, tmp_path: Path
    ) -> None:
        def convert(header: dict[str, Any], state: dict[str, torch.Tensor]) -> None:
            state["query_key.bias"] = state["query_key.bias"].to(kind)

        message = refusal(altered(saved, tmp_path / "w", convert))
        assert "query_key.bias: expected plain floating-point numbers" in message

    def test_weights_of_another_width(self, saved: Path, tmp_path: Path) -> None:
        def change(header: dict[str, Any], state: dict[str, torch.Tensor]) -> None:
            header["settings"]["key_channels"] = 9

        message = refusal(altered(saved, tmp_path / "w", change))
        assert "do not fit their settings" in message
        assert len(message.splitlines()) == 1


class TestBeginning:
    """A network with parts that its weights lack, which change nothing until they are trained."""

    finer = TINY.model_copy(update={"output_stride": 2})
    located = TINY.model_copy(update={"location_cue": True})

    @pytest.mark.parametrize("settings", [finer, located], ids=["half", "located"])
    @pytest.mark.parametrize("count", [1, 2])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_from_weights_without_a_part_gives_the_same_log_odds_to_the_last_bit(
        self, dtype: torch.dtype, count: int, settings: StmSettings, saved: Path, clip: Scene
    ) -> None:
        masks = torch.cat([clip.masks[0], clip.masks[2][:, 1:]], dim=1)[:, : count + 1]
        answers = []
        with torch.no_grad():
            for network in (load_stm(saved), begin_from(saved, settings)):
                network.eval().to(dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
                memory = network.memorize(network.encode(clip.images[0]), masks, None, True)
                answers.append(network.segment(network.encode(clip.images[1]), memory))
        assert torch.equal(answers[1], answers[0])

    def test_output_at_a_half_is_kept_in_the_weights_once_it_is_there(
        self, saved: Path, tmp_path: Path
    ) -> None:
        network = begin_from(saved, self.finer)
        torch.nn.init.normal_(network.decoder.head_half.weight)
        save_checkpoint(tmp_path / "finer.safetensors", network, {})
        for again in (
            load_stm(tmp_path / "finer.safetensors"),
            begin_from(tmp_path / "finer.safetensors", self.finer),
        ):
            assert again.settings == self.finer
            for name, weight in network.state_dict().items():
                kept = again.state_dict()[name]
                torch.testing.assert_close(kept, weight, rtol=1e-3, atol=1e-6)

    def test_old_settings_are_of_a_network_without_these_parts(
        self, saved: Path, tmp_path: Path
    ) -> None:
        def change(header: dict[str, Any], state: dict[str, torch.Tensor]) -> None:
            del header["settings"]["output_stride"], header["settings"]["location_cue"]

        settings = load_stm(altered(saved, tmp_path / "w", change)).settings
        assert (settings.output_stride, settings.location_cue) == (4, False)

    @pytest.mark.parametrize("name", ["decoder.head.weight", "memory_value.bias"])
    def test_from_weights_that_lack_another_layer_is_refused(
        self, name: str, saved: Path, tmp_path: Path
    ) -> None:
        path = altered(saved, tmp_path / "w", lambda header, state: state.pop(name))
        with pytest.raises(WeightsError, match=name):
            begin_from(path, self.finer)

    def test_from_weights_of_another_shape_is_refused(self, saved: Path, tmp_path: Path) -> None:
        def change(header: dict[str, Any], state: dict[str, torch.Tensor]) -> None:
            state["decoder.head.weight"] = torch.zeros(1, 9, 3, 3)

        with pytest.raises(WeightsError, match="do not fit their settings"):
            begin_from(altered(saved, tmp_path / "w", change), self.finer)

    def test_output_at_a_half_without_its_layers_is_no_weights_file(
        self, saved: Path, tmp_path: Path
    ) -> None:
        def change(header: dict[str, Any], state: dict[str, torch.Tensor]) -> None:
            header["settings"]["output_stride"] = 2

        path = altered(saved, tmp_path / "w", change)
        assert "do not fit their settings" in refusal(path)
        with pytest.raises(WeightsError, match="do not fit their settings"):
            begin_from(path, self.finer)
