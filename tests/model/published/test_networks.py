"""The networks of published weights: what reading a file gives, and how they behave."""

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor

from tests.model.published.conftest import ALL
from tests.model.published.making import STM, XMEM, State, export, small, write
from vostool.errors import UsageError, WeightsError
from vostool.inference.loading import load_predictor
from vostool.inference.options import ModelOptions
from vostool.model.aggregate import aggregate
from vostool.model.check import check_segmenter
from vostool.model.checkpoint import (
    begin_from,
    load_checkpoint,
    load_stm,
    read_settings,
    save_checkpoint,
)
from vostool.model.interface import Reference, others
from vostool.model.memory import KernelMemory
from vostool.model.object_chunks import InChunks
from vostool.model.published.layout import Layout
from vostool.model.published.stm import backbone_of
from vostool.model.published.xmem import Xmem, XmemMemory
from vostool.propagation.correction import Goal, GradientCorrection, receptive_field
from vostool.propagation.frame_loop import propagate
from vostool.propagation.frames import Annotation
from vostool.propagation.references import EVERY_FRAME

KINDS = list(ALL)


def images(count: int, height: int = 32, width: int = 48) -> list[Tensor]:
    """Return random images."""
    generator = torch.Generator().manual_seed(1)
    return list(torch.rand(count, 1, 3, height, width, generator=generator))


def two(height: int = 32, width: int = 48) -> Tensor:
    """Return masks (1, 3, H, W) of two objects side by side."""
    objects = torch.zeros(1, 2, height, width)
    objects[:, 0, 4:20, 4:20] = 1
    objects[:, 1, 8:28, 24:40] = 1
    return torch.cat([1 - objects.sum(dim=1, keepdim=True), objects], dim=1)


@pytest.fixture(params=KINDS)
def network(request: pytest.FixtureRequest, files: dict[str, Path]) -> Any:
    return load_checkpoint(files[request.param]).requires_grad_(False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_is_read_from_its_makers_names_with_batch_norm_folded(
    kind: str, files: dict[str, Path]
) -> None:
    expected = small(ALL[kind])
    found = load_checkpoint(files[kind])
    assert type(found) is type(expected)
    assert found.settings == expected.settings == read_settings(files[kind])
    assert not found.training
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_a_published_network_keeps_the_contract_of_a_segmenter(network: Any) -> None:
    check_segmenter(network)


def test_imported_weights_are_read_back_from_safetensors(network: Any, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_checkpoint(path, network, {})
    found = load_checkpoint(path)
    assert type(found) is type(network)
    assert found.settings == network.settings
    for name, value in network.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=1e-3, atol=1e-6)


def test_published_weights_give_objects_in_chunks_the_same_masks(network: Any) -> None:
    masks = []
    for most in (None, 1):
        truth = Annotation((1, 2), two()[:, 1:])
        found = propagate(images(4), {0: truth}, InChunks(network, most), EVERY_FRAME)
        with torch.no_grad():
            masks.append(torch.cat([each.masks for each in found]))
    torch.testing.assert_close(masks[1], masks[0], rtol=1e-4, atol=1e-4)


def test_published_weights_correct_the_masks_of_two_objects_and_respond_in_the_erf(
    network: Any,
) -> None:
    first, later = (network.encode(image) for image in images(2))
    reference = Reference(first, two())
    with torch.no_grad():
        memory = network.memorize(first, two(), None, True)
        masks = aggregate(network.segment(later, memory))
    goal = Goal((0, 1, 2), reference)
    corrected = GradientCorrection(steps=2, length=0.1)(network, later, masks, [goal])
    assert (corrected - masks)[:, 1:].abs().amax(dim=(0, 2, 3)).min() > 0
    field = next(receptive_field(network, later, reference, rate=1e5))
    assert field.amax() > 0


def test_published_weights_in_bf16_give_nearly_the_same_masks(files: dict[str, Path]) -> None:
    for kind in KINDS:
        masks = []
        for precision in (torch.float32, torch.bfloat16):
            network: Any = load_checkpoint(files[kind]).requires_grad_(False).to(precision)
            truth = Annotation((1, 2), two()[:, 1:])
            with torch.no_grad():
                found = list(propagate(images(3), {0: truth}, network, EVERY_FRAME))
            masks.append(found[-1].masks)
        assert masks[1].dtype == torch.float32
        torch.testing.assert_close(masks[1], masks[0], rtol=0, atol=0.1)


class TestStm:
    @pytest.mark.parametrize(
        ("blocks", "bottleneck", "backbone"),
        [
            (2, False, "resnet18"),
            (6, False, "resnet34"),
            (6, True, "resnet50"),
            (23, True, "resnet101"),
        ],
    )
    def test_the_backbone_of_stm_is_recognised_by_its_blocks(
        self, blocks: int, bottleneck: bool, backbone: str
    ) -> None:
        names = [f"Encoder_Q.res4.{block}.conv1.weight" for block in range(blocks)]
        names += ["Encoder_Q.res2.0.conv3.weight"] * bottleneck
        assert backbone_of(Layout(Path("w"), dict.fromkeys(names, torch.ones(1)))) == backbone
        with pytest.raises(WeightsError, match=rf"^w: Encoder_Q.res4: .* found {blocks + 1}$"):
            names.append(f"Encoder_Q.res4.{blocks}.conv1.weight")
            backbone_of(Layout(Path("w"), dict.fromkeys(names, torch.ones(1))))

    def test_stm_on_resnet_50_is_recognised_as_that_of_its_authors(self, tmp_path: Path) -> None:
        settings = STM.model_copy(update={"backbone": "resnet50", "published": "stm-official"})
        expected = small(settings)
        found = load_checkpoint(write(tmp_path / "w.pth", export(expected)))
        assert found.settings == settings
        for name, value in expected.state_dict().items():
            torch.testing.assert_close(found.state_dict()[name], value, rtol=1e-4, atol=1e-5)

    def test_the_second_mask_channel_of_stm_shows_the_other_objects(self) -> None:
        masks = two()
        assert torch.equal(others(masks), masks[:, [2, 1]])
        alone = others(masks[:, [0, 2]])  # a part of the objects knows of the rest
        assert torch.equal(alone, masks[:, [1]])

    def test_published_stm_takes_another_memory_design_and_top_k(
        self, files: dict[str, Path]
    ) -> None:
        changes = {"memory": "kmn", "top_k": 4, "kernel_sigma": 2.0}
        assert load_checkpoint(files["stm-cycle"], 3, changes).settings.top_k == 4
        network = load_stm(files["stm-cycle"])
        network.settings = network.settings.model_copy(update=changes)
        assert isinstance(network.empty_memory(), KernelMemory)

    def test_training_that_starts_from_published_weights_keeps_their_kind(
        self, files: dict[str, Path]
    ) -> None:
        recipe = load_stm(files["stm-cycle"]).settings.model_copy(update={"published": None})
        assert begin_from(files["stm-cycle"], recipe).settings.published == "stm-cycle"

    def test_training_starts_from_the_very_weights_of_published_stm(
        self, files: dict[str, Path]
    ) -> None:
        network = begin_from(files["stm-cycle"], load_stm(files["stm-cycle"]).settings)
        for name, value in load_checkpoint(files["stm-cycle"]).state_dict().items():
            assert torch.equal(network.state_dict()[name], value)

    @pytest.mark.parametrize("kind", ["stcn", "xmem"])
    def test_training_from_weights_of_stcn_or_xmem_is_refused(
        self, kind: str, files: dict[str, Path]
    ) -> None:
        with pytest.raises(
            WeightsError, match=rf"weights of {kind}, which vostool does not train$"
        ):
            begin_from(files[kind], STM)

    @pytest.mark.parametrize("size", [(32, 48), (37, 51), (30, 47)])
    def test_stm_cycle_segments_frames_of_any_size(
        self, size: tuple[int, int], files: dict[str, Path]
    ) -> None:
        network = load_stm(files["stm-cycle"]).requires_grad_(False)
        truth = Annotation((1, 2), two(*size)[:, 1:])
        for each in propagate(images(3, *size), {0: truth}, network):
            assert each.masks.shape == (1, 3, *size)


def test_an_option_that_stcn_and_xmem_lack_is_refused_by_name(files: dict[str, Path]) -> None:
    for kind in ("stcn", "xmem"):
        with pytest.raises(UsageError, match=r"^--kernel-sigma: .* of another network"):
            load_checkpoint(files[kind], None, {"kernel_sigma": 2.0})
        assert load_checkpoint(files[kind], None, {"top_k": 7}).settings.top_k == 7


def test_a_memory_design_is_checked_without_reading_a_checkpoint_twice(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Mock(wraps=torch.load)
    monkeypatch.setattr(torch, "load", read)
    options = {"weights": str(files["stm-cycle"]), "memory": "kmn", "device": "cpu"}
    load_predictor(ModelOptions().changed(options))
    assert read.call_count == 1
    with pytest.raises(UsageError, match=r"^--memory gcm: .* is trained for stm; expected weights"):
        load_predictor(ModelOptions().changed({**options, "memory": "gcm"}))


@pytest.mark.parametrize("kind", ["stcn", "xmem"])
def test_weights_for_single_objects_get_zeros_for_the_channel_of_the_others(
    kind: str, states: dict[str, State], tmp_path: Path
) -> None:
    state = dict(states[kind])
    name = "value_encoder.conv1.weight"
    state[name] = state[name][:, :4].clone()
    network = load_checkpoint(write(tmp_path / "w.pth", state))
    stem = network.state_dict()["value_encoder.mask_stem.weight"]
    assert not stem[:, 1].any()
    whole = small(ALL[kind]).state_dict()["value_encoder.mask_stem.weight"]
    torch.testing.assert_close(stem[:, 0], whole[:, 0], rtol=1e-4, atol=1e-5)


class TestXmem:
    @pytest.fixture
    def xmem(self, files: dict[str, Path]) -> Xmem:
        network = load_checkpoint(files["xmem"]).requires_grad_(False)
        assert isinstance(network, Xmem)
        network.memory_frames = 10
        return network

    @torch.no_grad()
    def memories(self, network: Xmem, count: int, seen: tuple[int, ...] = ()) -> list[XmemMemory]:
        """Return the memory after each of some frames; `seen` are annotated as well."""
        found: list[XmemMemory] = []
        for index, image in enumerate(images(count)):
            last = found[-1] if found else None
            features = network.encode(image)
            found.append(network.memorize(features, two(), last, index in {0, *seen}))
        return found

    def test_xmem_keeps_every_nth_frame_and_those_annotated(self, xmem: Xmem) -> None:
        xmem.memory_every = 3
        kept = [memory.bank.working // 6 for memory in self.memories(xmem, 9)]
        assert kept == [1, 1, 1, 2, 2, 2, 3, 3, 3]
        kept = [memory.bank.working // 6 for memory in self.memories(xmem, 9, seen=(4,))]
        assert kept == [1, 1, 1, 2, 3, 3, 3, 4, 4]

    def test_every_frame_changes_the_state_of_the_objects_of_xmem(self, xmem: Xmem) -> None:
        states = [memory.hidden for memory in self.memories(xmem, 6)]
        assert all((after - before).abs().amax() > 1e-4 for before, after in pairwise(states))

    def test_xmem_without_a_sensory_memory_is_read_and_runs(self, tmp_path: Path) -> None:
        settings = XMEM.model_copy(update={"hidden_channels": 0})
        network = load_checkpoint(write(tmp_path / "w.pth", export(small(settings))))
        assert network.settings == settings
        check_segmenter(network.requires_grad_(False))

    def test_the_memory_of_xmem_does_not_grow_with_the_video(self, xmem: Xmem) -> None:
        xmem.memory_every, xmem.memory_frames = 1, 4
        xmem.settings = xmem.settings.model_copy(update={"prototypes": 4, "long_term": 10})
        held = [memory.bank.elements for memory in self.memories(xmem, 40)]
        sizes = [each.total for each in held if each is not None]
        assert max(sizes[20:]) == max(sizes) <= 4 * 6 + 10

    def test_a_stored_memory_of_xmem_goes_on_the_same_bit_for_bit(self, xmem: Xmem) -> None:
        xmem.memory_every, xmem.memory_frames = 1, 4
        whole = self.memories(xmem, 9)
        tensors = {name: value.clone() for name, value in whole[6].to_tensors().items()}
        other = self.memories(xmem, 2)[1].with_tensors(tensors)
        assert other.since_kept == whole[6].since_kept
        last = network_output(xmem, whole[6])
        assert torch.equal(network_output(xmem, other), last)
        assert other.bank.prototypes == whole[6].bank.prototypes

    @pytest.mark.parametrize(
        ("name", "change", "words"),
        [
            ("value", None, "value is missing"),
            (
                "hidden",
                torch.zeros(3, 4, 2, 3),
                "hidden: expected 2 x 4 x any x any of",
            ),
            (
                "key",
                torch.zeros(1, 12, 9),
                "key: expected 1 x any x 8 of torch.float32",
            ),
            ("key", torch.zeros(1, 12, 8).half(), "found 1 x 12 x 8 of torch.float16"),
            ("use", torch.full((1, 12, 1), torch.nan), "use holds values that are not finite"),
            ("life", torch.zeros(1, 11, 1), "found 11, 12 elements"),
            ("counts", torch.tensor([-6, 6]), "counts: -6 prototypes"),
            ("counts", torch.tensor([12, 6]), "counts: 12 prototypes"),
            ("counts", torch.tensor([0, 5]), "frames of 5 positions"),
            ("counts", torch.tensor([0, 0]), "frames of 0 positions"),
            ("since_kept", torch.tensor(-1), "since_kept: expected 0 or more, found -1"),
        ],
    )
    def test_tensors_that_are_no_memory_of_this_xmem_are_refused(
        self, name: str, change: Tensor | None, words: str, xmem: Xmem
    ) -> None:
        xmem.memory_every = 1
        memory = self.memories(xmem, 2)[-1]
        tensors = memory.to_tensors()
        assert memory.with_tensors(tensors).bank.positions == 6
        tensors.pop(name)
        with pytest.raises(ValueError, match=re.escape(words)):
            memory.with_tensors(tensors if change is None else {**tensors, name: change})

    def test_xmem_memorises_a_segmented_frame_without_running_its_decoder_again(
        self, xmem: Xmem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = self.memories(xmem, 3)[-1]
        with torch.no_grad():
            features = xmem.encode(images(5)[4])
            alone = xmem.memorize(features, two(), replace(before)).to_tensors()
            logits = xmem.segment(features, before)
            decode = Mock(wraps=xmem.decode)
            monkeypatch.setattr(xmem, "decode", decode)
            after = xmem.memorize(features, two(), before).to_tensors()
            assert not decode.called
            assert all(torch.equal(after[name], alone[name]) for name in alone)
            xmem.segment(xmem.encode(images(5)[3]), before)
            again = xmem.memorize(features, two(), before).to_tensors()
            assert decode.call_count == 2, "the latest answer was about another frame"
            assert all(torch.equal(again[name], alone[name]) for name in alone)
            assert torch.equal(xmem.segment(features, before), logits)

    def test_a_memory_of_xmem_holds_no_gradients_of_frames_segmented_from_it(
        self, xmem: Xmem
    ) -> None:
        before = self.memories(xmem, 3)[-1]
        features = xmem.encode(images(5)[4])
        memory = replace(before, hidden=before.hidden.requires_grad_())
        assert xmem.segment(features, memory).requires_grad
        assert memory.cache == []
        with torch.no_grad():
            xmem.segment(features, memory)
        assert xmem.memorize(features, two(), memory).hidden.requires_grad

    def test_memorising_a_frame_leaves_the_earlier_memory_of_xmem_unchanged(
        self, xmem: Xmem
    ) -> None:
        memory = self.memories(xmem, 3)[-1]
        before = {name: value.clone() for name, value in memory.to_tensors().items()}
        with torch.no_grad():
            xmem.memorize(xmem.encode(images(5)[4]), two(), memory)
        assert all(torch.equal(value, before[name]) for name, value in memory.to_tensors().items())


@torch.no_grad()
def network_output(network: Xmem, memory: XmemMemory) -> Tensor:
    """Return the log-odds of a frame from a memory."""
    return network.segment(network.encode(images(3)[2]), memory)
