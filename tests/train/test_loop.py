import copy
import dataclasses
import functools
import json
import math
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.conftest import ARRIVAL, PATIENCE, TINY, ColourSegmenter, scene
from tests.datasets.making import recipe_of, square_clip, write_library, write_photograph
from vostool.datasets.sequences import InMemory
from vostool.errors import (
    InputError,
    OutputError,
    TrainingError,
    UsageError,
    VostoolError,
    WeightsError,
)
from vostool.inference.loading import predictor_of
from vostool.model.checkpoint import load_checkpoint, read_header
from vostool.model.interface import Reference
from vostool.model.stm import Stm
from vostool.model.stm_settings import StmSettings
from vostool.propagation.cycle import cycle_loss
from vostool.propagation.frame_loop import propagate
from vostool.propagation.frames import Annotation
from vostool.propagation.losses import mask_loss
from vostool.propagation.references import REFERENCE_SETS, References
from vostool.train.clips import Clip
from vostool.train.distillation import distillation_loss, load_teacher
from vostool.train.distributed import ALONE, Processes
from vostool.train.loop import remembered_frames, take_step, train
from vostool.train.optimizer import learning_rate, make_optimizer
from vostool.train.recipe import Recipe
from vostool.train.sampler import draw_batch
from vostool.train.state import (
    Run,
    export_run,
    read_checkpoint,
    run_with,
    start_run,
)
from vostool.train.unrolling import forward, unroll
from vostool.train.validation import score_sequence, validate

CPU = torch.device("cpu")
CYCLE = {"steps": 1, "size": (32, 48), "cycle": True}  # the last phase of `recipe_of`


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_library(tmp_path_factory.mktemp("data"))


def batch(count: int = 3, two: bool = False) -> Clip:
    """Return the last frames of the scene as a batch of one clip."""
    images, masks = scene(two=two)
    return Clip(images[-count:], masks[-count:], torch.ones(count, 1, dtype=torch.bool))


def mirrored(clip: Clip) -> Clip:
    return Clip(clip.images.flip(4), clip.masks.flip(4), clip.known)


def side_by_side(*clips: Clip) -> Clip:
    """Batch clips of one each."""
    return Clip(
        *(
            torch.cat([getattr(clip, name) for clip in clips], dim=1)
            for name in ("images", "masks", "known")
        )
    )


def without_labels(clip: Clip, *frames: int) -> Clip:
    """Return a clip some of whose frames are all background, and not known."""
    masks, known = clip.masks.clone(), clip.known.clone()
    masks[list(frames)] = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    known[list(frames)] = False
    return Clip(clip.images, masks, known)


def step_on(run: Run[Stm], recipe: Recipe, clip: Clip, team: Processes = ALONE) -> float:
    """Take a step on clips that are all there are."""
    run.recipe = recipe
    return take_step(run, (clip, clip.images.shape[1], False), team)


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def loss_of(
    network: Any, clip: Clip, late: bool = False, cycle: bool = False, gamma: float = 1.0
) -> Tensor:
    """Return the loss of each clip, without gradients."""
    with torch.no_grad():
        return unroll(network, clip, late=late, cycle=cycle, gamma=gamma)


class TestTheLoss:
    def by_hand(self, segmenter: Stm, clip: Clip, cycle: bool, gamma: float = 1.0) -> Tensor:
        """Return the mean over predicted frames of forward loss and loss of the cycle."""
        ids = tuple(range(1, clip.masks.shape[2]))
        frames = propagate(
            clip.images, {0: Annotation(ids, clip.masks[0][:, 1:])}, segmenter, References(every=1)
        )
        first, *others = frames
        reference = Reference(first.features, clip.masks[0])
        losses = []
        for seen, masks in zip(others, clip.masks[1:], strict=True):
            losses.append(mask_loss(seen.masks, masks, gamma))
            if cycle:
                back = cycle_loss(segmenter, seen.features, seen.masks, reference, gamma)
                losses[-1] = losses[-1] + back
        return torch.stack(losses).mean(dim=0)

    @pytest.mark.parametrize("gamma", [1.0, 0.25])
    @pytest.mark.parametrize("cycle", [False, True])
    def test_equation_3_adds_to_every_frame_s_loss_that_of_the_way_back(
        self, network: Stm, cycle: bool, gamma: float
    ) -> None:
        got = loss_of(network, batch(), cycle=cycle, gamma=gamma)
        with torch.no_grad():
            expected = self.by_hand(network, batch(), cycle, gamma)
        torch.testing.assert_close(got, expected)
        assert got.shape == (1,)

    def test_is_one_for_each_clip_whatever_lies_beside_it(self, network: Stm) -> None:
        clips = [batch(), mirrored(batch())]
        together = loss_of(network, side_by_side(*clips), cycle=True)
        apart = torch.cat([loss_of(network, clip, cycle=True) for clip in clips])
        torch.testing.assert_close(together, apart)
        assert apart[0] != apart[1]

    def test_gamma_weighs_the_cross_entropy_of_the_way_back_too(self, network: Stm) -> None:
        there, back = (loss_of(network, batch(2), cycle=way, gamma=0.0) for way in (False, True))
        # what is left of Eq. 4 is the IoU loss, which is 1 at most
        assert 0 < back - there <= 1

    def test_frames_that_do_not_show_every_object_are_not_asked_back(self, network: Stm) -> None:
        clip = batch(2)
        clip.masks[1] = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
        there, back = (loss_of(network, clip, cycle=cycle) for cycle in (False, True))
        assert torch.equal(there, back)

    def test_is_almost_nothing_where_the_segmenter_is_right(self) -> None:
        assert loss_of(ColourSegmenter(), batch(8), cycle=True) < 0.05


class Nudged:
    """A segmenter whose logits of one frame are moved by a number: what makes a prediction."""

    stride = 1

    def __init__(self, segmenter: Any, nudge: Tensor) -> None:
        self._segmenter, self._nudge, self._calls = segmenter, nudge, 0
        self.encode, self.memorize = segmenter.encode, segmenter.memorize

    def segment(self, features: Any, memory: Any) -> Tensor:
        self._calls += 1
        logits: Tensor = self._segmenter.segment(features, memory)
        return logits + self._nudge if self._calls == 1 else logits  # not on the way back


class TestTheGradientOfTheCycle:
    @pytest.mark.parametrize(("of", "at"), [("colours", 3.0), ("network", 0.0)])
    def test_the_cycle_loss_has_a_gradient_through_the_predicted_masks(
        self, of: str, at: float, network: Stm
    ) -> None:
        segmenter: Any = ColourSegmenter() if of == "colours" else network
        clip = without_labels(batch(2), 1)  # a frame judged by the cycle alone

        def cycle_of(nudge: Tensor) -> Tensor:
            return unroll(Nudged(segmenter, nudge), clip, late=False, cycle=True, gamma=1.0).sum()

        nudge = torch.tensor(at, requires_grad=True)
        (gradient,) = torch.autograd.grad(cycle_of(nudge), nudge)
        with torch.no_grad():
            above, below = (cycle_of(nudge + side).item() for side in (3e-3, -3e-3))
        assert abs(above - below) > 1e-5, "the prediction should matter here"
        assert gradient.item() == pytest.approx((above - below) / 6e-3, rel=0.1)


class TestMemoryDropout:
    def test_a_share_of_steps_remembers_the_first_frame_alone(self) -> None:
        recipe = recipe_of(memory_dropout=0.25)
        drawn = [remembered_frames(recipe, step) for step in range(400)]
        assert drawn == [remembered_frames(recipe, step) for step in range(400)]
        assert 60 < drawn.count(REFERENCE_SETS["first"]) < 140
        assert {remembered_frames(recipe_of(), step) for step in range(50)} == {References(every=1)}

    def test_a_step_is_taken_with_the_frames_drawn_for_it(
        self, run: Run[Stm], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told = []

        def look(network: Stm, *others: object, **settings: object) -> Tensor:
            told.append(settings["references"])
            return head_loss(network)

        monkeypatch.setattr("vostool.train.loop.unroll", look)
        for share in (0.0, 1.0):
            step_on(run, recipe.model_copy(update={"memory_dropout": share}), batch(2))
        assert told == [References(every=1), REFERENCE_SETS["first"]]

    def test_a_clip_that_remembers_its_first_frame_alone_is_predicted_from_it(
        self, network: Stm
    ) -> None:
        clip = batch(3)
        with torch.no_grad():
            *_, last = forward(network, clip, late=False, references=REFERENCE_SETS["first"])
            ends = Clip(clip.images[[0, 2]], clip.masks[[0, 2]], clip.known[[0, 2]])
            *_, expected = forward(network, ends, late=False)
        torch.testing.assert_close(last.masks, expected.masks)


class TestAFrameWithoutLabels:
    def test_is_judged_by_the_cycle_alone(self) -> None:
        segmenter: Any = ColourSegmenter()
        clip = without_labels(batch(), 2)
        labelled = dataclasses.replace(clip, known=torch.ones(3, 1, dtype=torch.bool))
        assert loss_of(segmenter, labelled) > 1, "the labels should be wrong here"
        first, _, _ = propagate(clip.images, {0: Annotation((1,), clip.masks[0][:, 1:])}, segmenter)
        _, second, third = forward(segmenter, clip, late=False)
        reference = Reference(first.features, clip.masks[0])
        expected = mask_loss(second.masks, clip.masks[1]) + sum(
            cycle_loss(segmenter, seen.features, seen.masks, reference) for seen in (second, third)
        )
        torch.testing.assert_close(loss_of(segmenter, clip, cycle=True), expected / 2)

    @pytest.mark.parametrize("cycle", [False, True])
    def test_may_have_any_labels(self, network: Stm, cycle: bool) -> None:
        clip = without_labels(batch(), 1, 2)
        other = dataclasses.replace(clip, masks=clip.masks.clone())
        other.masks[1:] = other.masks[1:].flip(2)
        one, same = (loss_of(network, drawn, cycle=cycle) for drawn in (clip, other))
        assert torch.equal(one, same)

    def test_costs_nothing_without_the_cycle(self, network: Stm) -> None:
        assert loss_of(network, without_labels(batch(), 1, 2)) == 0

    def test_of_one_clip_leaves_the_others_their_labels(self, network: Stm) -> None:
        clips = [without_labels(batch(), 1, 2), mirrored(batch())]
        together = loss_of(network, side_by_side(*clips))
        assert together[0] == 0
        torch.testing.assert_close(together[1:], loss_of(network, clips[1]))

    def test_trains_by_the_cycle_and_not_without(self, network: Stm) -> None:
        pulls = []
        for cycle in (False, True):
            network.zero_grad(set_to_none=True)
            clip = without_labels(batch(2), 1)
            unroll(network, clip, late=False, cycle=cycle, gamma=1.0).sum().backward()
            grad = network.decoder.head.weight.grad
            pulls.append(0 if grad is None else grad.abs().sum().item())
        assert pulls[0] == 0 < pulls[1]


class TestALateObject:
    def late(self) -> Clip:
        """Four frames, the last of two objects from the second on."""
        images, masks = scene(two=True)
        frames = slice(ARRIVAL - 1, ARRIVAL + 3)
        return Clip(images[frames], masks[frames], torch.ones(4, 1, dtype=torch.bool))

    def test_is_annotated_on_the_second_frame(self) -> None:
        clip = self.late()
        seen = list(forward(ColourSegmenter(), clip, late=True))
        assert [frame.ids for frame in seen] == [(1,), (1, 2), (1, 2), (1, 2)]
        assert torch.equal(seen[1].masks[:, 2], clip.masks[1][:, 2])
        assert ((seen[3].masks > 0.5) == (clip.masks[3] > 0.5)).all(), "lost from there on"

    def test_is_followed_so_that_a_segmenter_that_is_right_has_no_loss(self) -> None:
        segmenter: Any = ColourSegmenter()
        assert loss_of(segmenter, self.late(), late=True) < 0.05
        assert loss_of(segmenter, self.late()) > 0.3, "nothing tells of it on the first frame"

    def test_leaves_out_the_way_back(self, network: Stm) -> None:
        there, back = (loss_of(network, self.late(), True, cycle) for cycle in (False, True))
        assert torch.equal(there, back)
        assert there.isfinite().all()


class TestTheSchedule:
    recipe = recipe_of(phases=[{"steps": 80}, {"steps": 20}], warmup=10)

    def shares(self) -> list[float]:
        return [learning_rate(step, self.recipe) for step in range(101)]

    def test_warms_up_in_equal_steps_to_the_peak(self) -> None:
        assert self.shares()[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
        assert self.shares()[10] == 1

    def test_then_falls_along_a_cosine_to_one_per_cent(self) -> None:
        shares = self.shares()
        assert all(more > less for more, less in pairwise(shares[10:]))
        assert shares[55] == pytest.approx((1 + 0.01) / 2)  # half way
        assert shares[100] == pytest.approx(0.01)

    @pytest.mark.parametrize("warmup", [0, 100, 500])
    def test_needs_no_warm_up_nor_an_end_to_it(self, warmup: int) -> None:
        recipe = recipe_of(phases=[{"steps": 100}], warmup=warmup)
        shares = [learning_rate(step, recipe) for step in range(101)]
        assert all(0 < share <= 1 for share in shares)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return recipe_of(phases=[{"steps": 40, "cycle": True}], warmup=0, freeze=["query_stem"])


@pytest.fixture(scope="module")
def started(recipe: Recipe) -> Run[Stm]:
    return start_run(recipe, CPU)


@pytest.fixture
def run(started: Run[Stm]) -> Run[Stm]:
    return copy.deepcopy(started)


class TestAStep:
    def state(self, network: Stm) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in network.state_dict().items()}

    def test_and_some_more_lower_the_loss(self, run: Run[Stm], recipe: Recipe) -> None:
        losses = [step_on(run, recipe, batch(2)) for _ in range(12)]
        assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
        assert run.step == 12

    def test_moves_all_weights_but_the_frozen_and_the_average_after_them(
        self, run: Run[Stm], recipe: Recipe
    ) -> None:
        before, average = self.state(run.network), self.state(run.average)
        assert all(torch.equal(before[name], average[name]) for name in before)
        step_on(run, recipe, batch(2))
        after, decay = self.state(run.network), 1 / 11  # of a run one step old
        trained = {name for name, weight in run.network.named_parameters() if weight.requires_grad}
        assert {name for name in after if name.startswith("query_stem")}.isdisjoint(trained)
        for name, weight in after.items():
            assert torch.equal(weight, before[name]) is (name not in trained), name
            expected = decay * average[name] + (1 - decay) * weight
            torch.testing.assert_close(run.average.state_dict()[name], expected)

    def test_takes_the_learning_rates_of_encoders_and_others(
        self, run: Run[Stm], recipe: Recipe
    ) -> None:
        run.step = 20
        share = learning_rate(20, recipe)
        step_on(run, recipe, batch(2))
        rates = [group["lr"] for group in run.optimizer.param_groups]
        assert rates == [share * recipe.learning_rate, share * recipe.encoder_learning_rate]

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_whose_loss_is_no_number_is_refused_and_changes_nothing(
        self, run: Run[Stm], recipe: Recipe, value: float
    ) -> None:
        run.step = 7
        before = self.state(run.network)
        clip = batch(2)
        clip.images[1, 0, 0, 0, 0] = value
        with pytest.raises(TrainingError, match="the loss is nan at step 7"):
            step_on(run, recipe, clip)
        assert run.step == 7
        assert all(torch.equal(before[name], now) for name, now in self.state(run.network).items())

    @pytest.mark.parametrize("clip_norm", [0.0, 3.0])
    def test_whose_gradient_is_no_number_is_refused_and_changes_nothing(
        self,
        clip_norm: float,
        run: Run[Stm],
        recipe: Recipe,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def broken(network: Stm, *others: object, **settings: object) -> Tensor:
            weight = network.decoder.head.weight
            return (weight - weight.detach()).abs().sum().sqrt()[None]  # 0, and infinitely steep

        monkeypatch.setattr("vostool.train.loop.unroll", broken)
        before = self.state(run.network)
        with pytest.raises(TrainingError, match=r"the gradient is (nan|inf) at step 0"):
            step_on(run, recipe.model_copy(update={"clip_norm": clip_norm}), batch(2))
        assert run.step == 0
        assert all(torch.equal(before[name], now) for name, now in self.state(run.network).items())

    def test_in_16_bits_is_about_the_same(self, run: Run[Stm], recipe: Recipe) -> None:
        exact = loss_of(run.network, batch(2), cycle=True).item()
        rounded = recipe.model_copy(update={"precision": "bf16"})
        assert step_on(run, rounded, batch(2)) == pytest.approx(exact, rel=0.05)

    @pytest.mark.parametrize("has", [True, False])
    def test_is_in_16_bits_only_where_the_device_has_them(
        self, has: bool, run: Run[Stm], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        formats = []

        def look(network: Stm, *others: object, **settings: object) -> Tensor:
            formats.append((torch.ones(1, 1) @ torch.ones(1, 1)).dtype)
            return head_loss(network)

        monkeypatch.setattr("vostool.train.loop.unroll", look)
        monkeypatch.setattr("vostool.device.cpu_has_bf16", lambda: has)
        step_on(run, recipe.model_copy(update={"precision": "auto"}), batch(2))
        assert formats == [torch.bfloat16 if has else torch.float32]


class TestDistillation:
    @pytest.mark.parametrize("values", ["own", "shared"])
    @pytest.mark.parametrize("keys", ["own", "shared"])
    def test_distillation_moves_every_weight_that_makes_memory_values_and_no_other(
        self, keys: str, values: str
    ) -> None:
        settings = TINY.model_copy(update={"keys": keys, "values": values})
        torch.manual_seed(1)
        teacher = Stm(settings).eval()
        run = start_run(distilling(settings, freeze=[]), CPU)
        wanted = [weight.requires_grad for weight in run.network.parameters()]
        before = {name: weight.clone() for name, weight in run.network.state_dict().items()}
        loss = functools.partial(distillation_loss, run.network, teacher)
        take_step(run, (batch(2), 1, False), ALONE, loss)
        for name, weight in run.network.state_dict().items():
            learns = name.startswith(
                ("memory_stem.", "mask_stem.", "memory_body.", "memory_value.")
            )
            assert torch.equal(weight, before[name]) is not learns, name
        assert [weight.requires_grad for weight in run.network.parameters()] == wanted

    def test_distillation_leaves_frozen_weights_of_the_memory_encoder_alone(
        self, network: Stm
    ) -> None:
        run = start_run(distilling(TINY, freeze=["memory_stem.", "memory_body.layer1."]), CPU)
        loss = functools.partial(distillation_loss, run.network, network)
        take_step(run, (batch(2), 1, False), ALONE, loss)
        for name, weight in run.network.named_parameters():
            if name.startswith(("memory_stem.", "memory_body.layer1.")):
                assert not weight.requires_grad
                assert weight.grad is None, name

    @pytest.mark.parametrize(
        ("freeze", "problem"),
        [
            (
                ["memory_stem.", "memory_steam."],
                "no weights whose names begin with 'memory_steam.'",
            ),
            (["m", "q", "d"], "nothing is left to train"),
        ],
    )
    def test_freezing_what_the_network_lacks_or_all_of_it_is_refused(
        self, freeze: list[str], problem: str
    ) -> None:
        with pytest.raises(UsageError, match=f"freeze: .*{problem}"):
            start_run(distilling(TINY, freeze=freeze), CPU)

    def test_some_steps_of_distillation_bring_the_values_nearer_to_the_teacher_s(
        self, network: Stm
    ) -> None:
        run = start_run(distilling(TINY.model_copy(update={"values": "shared"})), CPU)
        loss = functools.partial(distillation_loss, run.network, network)
        losses = [take_step(run, (batch(2), 1, False), ALONE, loss) for _ in range(12)]
        assert losses[-1] < 0.6 * losses[0]

    def test_has_nothing_to_learn_from_itself(self, network: Stm) -> None:
        with torch.no_grad():
            assert distillation_loss(network, network, batch(2)).abs().max() < 1e-9

    def test_is_measured_for_each_clip_by_itself(self, network: Stm) -> None:
        torch.manual_seed(1)
        teacher = Stm(TINY).eval()
        clips = side_by_side(batch(2), mirrored(batch(2)))
        with torch.no_grad():
            apart = distillation_loss(network, teacher, clips)
        assert apart.shape == (2,)
        assert apart[0] != apart[1]

    def test_of_a_teacher_with_other_values_is_refused(self, whole: Path) -> None:
        path = whole / "weights.safetensors"
        wide = TINY.model_copy(update={"value_channels": 32})
        with pytest.raises(WeightsError, match="16 value channels; the recipe's network has 32"):
            load_teacher(recipe_of(teacher=path, network=wide), CPU)

    def test_needs_a_teacher(self) -> None:
        with pytest.raises(ValueError, match="needs a teacher"):
            recipe_of(phases=[{"steps": 1, "distill": True}])


def distilling(settings: StmSettings, **changes: Any) -> Recipe:
    """Return a recipe of distillation alone."""
    phases = [{"steps": 40, "distill": True}]
    teacher = Path("teacher")
    return recipe_of(network=settings, phases=phases, warmup=0, teacher=teacher, **changes)


class TestTheStart:
    def test_is_a_function_of_the_seed(self, started: Run[Stm], recipe: Recipe) -> None:
        again, other = (
            start_run(recipe.model_copy(update={"seed": seed}), CPU).network for seed in (0, 1)
        )
        weight = started.network.decoder.head.weight
        assert torch.equal(again.decoder.head.weight, weight)
        assert not torch.equal(other.decoder.head.weight, weight)

    def test_from_encoder_weights_takes_them_up(self, tmp_path: Path) -> None:
        state = torchvision.models.get_model("resnet18", weights=None).state_dict()
        save_file(state, tmp_path / "encoder.safetensors")
        run = start_run(recipe_of(encoder_weights=tmp_path / "encoder.safetensors"), CPU)
        expected = state["layer3.1.conv2.weight"] / (1 + 1e-5) ** 0.5  # batch norm at its start
        for network in (run.network, run.average):
            for body in (network.query_body, network.memory_body):
                weight = body.get_submodule("layer3.1.conv2").get_parameter("weight")
                torch.testing.assert_close(weight.detach(), expected)

    def test_from_weights_that_are_not_there_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(VostoolError, match="missing"):
            start_run(recipe_of(encoder_weights=tmp_path / "missing.safetensors"), CPU)

    def test_from_a_whole_network_takes_it_up(self, whole: Path, data: Path) -> None:
        path = whole / "weights.safetensors"
        weights = start_run(recipe_of(init_weights=path), CPU).network.state_dict()
        for name, value in load_file(path).items():
            assert torch.equal(weights[name], value.to(weights[name].dtype)), name
        other = TINY.model_copy(update={"key_channels": 9})
        with pytest.raises(WeightsError, match="key_channels 8; the recipe's network has 9"):
            start_run(recipe_of(init_weights=path, network=other), CPU)

    def test_from_a_whole_network_needs_no_more_said_of_it(
        self, whole: Path, data: Path, tmp_path: Path
    ) -> None:
        entries = recipe_of(data, init_weights=whole / "weights.safetensors").model_dump()
        del entries["network"]
        entries["init_weights"] = tmp_path / "begin.safetensors"
        entries["init_weights"].write_bytes((whole / "weights.safetensors").read_bytes())
        recipe, folder = Recipe.model_validate(entries), tmp_path / "run"
        assert start_run(recipe, CPU).network.settings == TINY
        with pytest.raises(Killed):
            train(recipe, folder, device=CPU, report=kill_at(1))
        entries["init_weights"].unlink()  # of no more use
        assert load_checkpoint(export_run(folder, tmp_path / "w")).settings == TINY
        train(recipe, folder, device=CPU, resume=True)
        assert Recipe.model_validate_json((folder / "recipe.json").read_text()).network == TINY

    def test_from_a_network_that_there_is_not_here_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "other.safetensors"
        header = {"format": 1, "settings": {"depth": 3}, "card": {}}
        save_file({"one": torch.ones(3)}, path, metadata={"vostool": json.dumps(header)})
        entries = recipe_of(init_weights=path).model_dump()
        del entries["network"]
        with pytest.raises(WeightsError, match=r"unsupported network settings: depth: unknown key"):
            start_run(Recipe.model_validate(entries), CPU)

    def test_from_a_network_with_another_memory_encoder_takes_up_the_rest(
        self, whole: Path, data: Path
    ) -> None:
        path = whole / "weights.safetensors"
        shared = TINY.model_copy(update={"values": "shared"})
        weights = start_run(recipe_of(init_weights=path, network=shared), CPU).network.state_dict()
        taken = {name: value for name, value in load_file(path).items() if name in weights}
        own = ("memory_", "mask_stem.")
        assert {name for name in weights if not name.startswith(own)} <= taken.keys()
        for name, value in taken.items():
            if weights[name].shape == value.shape:
                assert torch.equal(weights[name], value.to(weights[name].dtype)), name
            else:
                assert name.startswith(own)

    def test_from_weights_that_fit_nothing_is_refused(self, tmp_path: Path) -> None:
        save_file({"something": torch.ones(3)}, tmp_path / "other.safetensors")
        with pytest.raises(VostoolError):
            start_run(recipe_of(encoder_weights=tmp_path / "other.safetensors"), CPU)


class TestValidation:
    def test_of_a_segmenter_that_is_right_is_1(self) -> None:
        network: Any = ColourSegmenter()
        (scores,) = score_sequence(predictor_of(network, 48, CPU), square_clip())
        assert scores.j == scores.f == [1.0] * 6
        assert validate(network, [square_clip(), square_clip()], 48, CPU) == 1.0

    def test_leaves_out_the_first_frame_and_the_last(self) -> None:
        clip = square_clip()
        labels = clip.labels.clone()
        labels[-1] = 0  # what is not looked at may be wrong
        network: Any = ColourSegmenter()
        wrong_end = InMemory(clip.name, clip.images, labels, clip.annotated)
        assert score_sequence(predictor_of(network, 48, CPU), wrong_end)[0].j == [1.0] * 6
        labels[-2] = 0
        assert score_sequence(predictor_of(network, 48, CPU), wrong_end)[0].j == [1.0] * 5 + [0.0]

    def test_looks_at_annotated_frames_only(self) -> None:
        clip = square_clip()
        labels = clip.labels.clone()
        labels[[1, 2, 4]] = 0
        network: Any = ColourSegmenter()
        sparse = InMemory(clip.name, clip.images, labels, (0, 3, 5, 6, 7))
        assert score_sequence(predictor_of(network, 48, CPU), sparse)[0].j == [1.0] * 3

    def test_of_nothing_is_not_a_number(self, network: Stm) -> None:
        assert math.isnan(validate(network, [], 48, CPU))


class Killed(BaseException):
    """Stands for the power going out."""


def kill_at(step: int) -> Callable[[dict[str, Any]], None]:
    def report(entry: dict[str, Any]) -> None:
        if entry["step"] == step:
            raise Killed

    return report


def same_weights(one: Path, other: Path) -> None:
    expected = load_file(other)
    for name, value in load_file(one).items():
        assert torch.equal(value, expected[name]), name


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    weights = train(recipe_of(data, hold_out=["two"]), folder, device=CPU)
    assert weights == folder / "weights.safetensors"
    return folder


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_float32_is_not_tf32(
    precision: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.backends.cudnn.allow_tf32", True)
    recipe = recipe_of(data).model_copy(update={"precision": precision})
    with suppress(KeyboardInterrupt):
        train(recipe, tmp_path / "run", device=CPU, stop=lambda: True)
    assert torch.backends.cudnn.allow_tf32 == (precision != "fp32")


@pytest.fixture
def soon_started(monkeypatch: pytest.MonkeyPatch, started: Run[Stm]) -> None:
    """Have a run begin without building its networks anew."""

    def start(recipe: Recipe, device: torch.device) -> Run[Stm]:
        run = copy.deepcopy(started)
        run.recipe = recipe
        return run

    monkeypatch.setattr("vostool.train.loop.start_run", start)
    monkeypatch.setattr(
        "vostool.train.state.run_with", lambda _, recipe, device: start(recipe, device)
    )


@pytest.fixture
def soon_done(monkeypatch: pytest.MonkeyPatch, soon_started: None) -> None:
    """Have a run's steps be soon taken, too."""
    monkeypatch.setattr("vostool.train.loop.unroll", head_loss)


class TestARun:
    def test_leaves_weights_that_load_and_say_how_they_came_about(
        self, whole: Path, data: Path
    ) -> None:
        network = load_checkpoint(whole / "weights.safetensors")
        assert network.settings == TINY
        card = read_header(whole / "weights.safetensors")["card"]
        assert card["step"] == 4
        assert card["held_out"] == ["two"]
        assert list(card["held_out_j_and_f"]) == ["4"]
        assert card["data"] == {"clips": 1, "photographs": 2}
        assert Recipe.model_validate(card["recipe"]) == recipe_of(data, hold_out=["two"])

    def test_leaves_its_recipe_and_a_log(self, whole: Path, data: Path) -> None:
        recipe = Recipe.model_validate_json((whole / "recipe.json").read_text())
        assert recipe == recipe_of(data, hold_out=["two"])
        losses = [entry for entry in log_of(whole) if "loss" in entry]
        assert [entry["step"] for entry in losses] == [1, 2, 3, 4]
        recipe = recipe_of(data, hold_out=["two"])
        for entry in losses:
            assert 0 < entry["loss"] < 99
            assert entry["seconds_per_step"] > 0
            share = learning_rate(entry["step"] - 1, recipe)
            assert entry["learning_rate"] == pytest.approx(share * recipe.learning_rate, rel=1e-5)
        (score,) = [entry for entry in log_of(whole) if "held_out_j_and_f" in entry]
        assert score["step"] == 4
        assert 0 <= score["held_out_j_and_f"] <= 1

    def test_leaves_nothing_half_written(self, whole: Path) -> None:
        assert {path.name for path in whole.iterdir()} - {"tensorboard"} == {
            "checkpoint.pt",
            "log.jsonl",
            "recipe.json",
            "weights.safetensors",
        }

    def test_killed_and_resumed_gives_exactly_what_an_uninterrupted_one_gives(
        self, whole: Path, data: Path, tmp_path: Path
    ) -> None:
        recipe, folder = recipe_of(data, hold_out=["two"]), tmp_path / "run"
        with pytest.raises(Killed):
            train(recipe, folder, device=CPU, report=kill_at(3))
        assert not (folder / "weights.safetensors").exists()
        weights = train(recipe, folder, device=CPU, resume=True)
        same_weights(weights, whole / "weights.safetensors")

    @pytest.mark.usefixtures("soon_started")
    def test_resumed_logs_the_losses_that_an_uninterrupted_one_logs(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def step(run: Run[Stm], *others: object) -> float:
            run.step += 1
            return float(run.step)

        monkeypatch.setattr("vostool.train.loop.take_step", step)
        monkeypatch.setattr("vostool.train.batches.draw_batch", lambda *arguments: (None, 1, False))
        monkeypatch.setattr("vostool.train.loop.picture", lambda *arguments: torch.zeros(3, 8, 8))
        phases = [{"steps": 6, "size": (32, 48)}]
        recipe = recipe_of(data, phases=phases, log_every=2, save_every=3)
        with pytest.raises(Killed):
            train(recipe, tmp_path, device=CPU, report=kill_at(4))
        train(recipe, tmp_path, device=CPU, resume=True)
        logged = [(entry["step"], entry["loss"]) for entry in log_of(tmp_path) if "loss" in entry]
        assert logged == [(2, 1.5), (4, 3.5), (6, 5.5)]

    def test_clips_drawn_ahead_give_the_weights_that_clips_drawn_in_turn_give(
        self, whole: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def in_turn(draws: Iterator[Any], depth: int) -> Iterator[Any]:
            yield from draws

        monkeypatch.setattr("vostool.train.batches.read_ahead", in_turn)
        weights = train(recipe_of(data, hold_out=["two"]), tmp_path, device=CPU)
        same_weights(weights, whole / "weights.safetensors")

    def test_clips_are_drawn_in_a_thread_beside_the_steps_that_ends_with_the_run(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, soon_done: None
    ) -> None:
        threads = []

        def draw(*arguments: Any) -> tuple[Clip, int, bool]:
            threads.append(threading.current_thread())
            return draw_batch(*arguments)

        monkeypatch.setattr("vostool.train.batches.draw_batch", draw)
        monkeypatch.setattr("vostool.inference.prefetch.GRACE", PATIENCE)
        asked = iter([False, True])
        with pytest.raises(KeyboardInterrupt):
            train(recipe_of(data), tmp_path, device=CPU, stop=lambda: next(asked))
        assert threads
        assert threading.main_thread() not in threads
        assert not any(thread.is_alive() for thread in threads)

    def test_that_is_to_stop_saves_and_resumes_to_the_very_same(
        self, whole: Path, data: Path, tmp_path: Path
    ) -> None:
        recipe, asked = recipe_of(data, hold_out=["two"]), iter([True])
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path, device=CPU, stop=lambda: next(asked))
        assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 1
        weights = train(recipe, tmp_path, device=CPU, resume=True)
        same_weights(weights, whole / "weights.safetensors")
        drop = ("seconds_per_step",)
        logs = [
            [{key: entry[key] for key in entry if key not in drop} for entry in log_of(folder)]
            for folder in (tmp_path, whole)
        ]
        assert logs[0] == logs[1]

    def test_is_exported_as_its_checkpoint_has_it(
        self, whole: Path, data: Path, tmp_path: Path
    ) -> None:
        path = export_run(whole, tmp_path / "exported.safetensors")
        assert path == tmp_path / "exported.safetensors"
        same_weights(path, whole / "weights.safetensors")
        assert read_header(path)["card"] == read_header(whole / "weights.safetensors")["card"]

    def test_is_exported_to_a_folder_that_is_there(self, whole: Path, data: Path) -> None:
        with pytest.raises(OutputError, match=r"exported\.safetensors: cannot be written"):
            export_run(whole, whole / "none" / "exported.safetensors")

    def test_that_is_not_there_cannot_be_exported(self, data: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="found none"):
            export_run(tmp_path, tmp_path / "exported.safetensors")

    @pytest.mark.parametrize(
        ("scores", "best"),
        [([0.3, 0.6, 0.5, 0.6], 2), ([0.1, 0.2, 0.3, 0.4], 4), ([0, 0, 0, 0], 1)],
    )
    @pytest.mark.usefixtures("soon_done")
    def test_keeps_the_weights_that_did_best_on_the_clips_held_out(
        self,
        scores: list[float],
        best: int,
        data: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        left = iter(scores)
        monkeypatch.setattr("vostool.train.loop.validate", lambda *arguments: next(left))
        monkeypatch.setattr("vostool.train.loop.picture", lambda *arguments: torch.zeros(3, 8, 8))
        recipe = recipe_of(data, hold_out=["two"], validate_every=1)
        weights = train(recipe, tmp_path, device=CPU)
        card = read_header(weights)["card"]
        assert card["step"] == best
        assert card["held_out_j_and_f"] == {str(i): scores[i - 1] for i in range(1, best + 1)}

    def test_that_cannot_begin_leaves_no_folder(self, data: Path, tmp_path: Path) -> None:
        for changes in (
            {"hold_out": ["tow"]},
            {"encoder_weights": tmp_path / "missing.safetensors"},
        ):
            with pytest.raises(VostoolError):
                train(recipe_of(data, **changes), tmp_path / "run", device=CPU)
            assert not (tmp_path / "run").exists()

    @pytest.mark.usefixtures("soon_done")
    def test_without_held_out_clips_keeps_the_last_weights(
        self, data: Path, tmp_path: Path
    ) -> None:
        weights = train(recipe_of(data, validate_every=1), tmp_path, device=CPU)
        card = read_header(weights)["card"]
        assert (card["step"], card["held_out"], card["held_out_j_and_f"]) == (4, [], {})
        average = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["average"]
        kept = load_file(weights)["decoder.head.weight"]
        assert torch.equal(kept, average["decoder.head.weight"].to(kept.dtype))

    def test_of_more_processes_than_clips_is_refused_at_once(
        self, data: Path, tmp_path: Path
    ) -> None:
        recipe = recipe_of(data, objects=4, multi_object_share=0.5, max_objects=2)
        with pytest.raises(UsageError, match="2 clips, too few for 3 processes"):
            train(recipe, tmp_path / "run", device=CPU, team=Processes(0, 3))
        assert not (tmp_path / "run").exists()

    def test_resumed_when_it_is_done_is_done(self, whole: Path, data: Path) -> None:
        before = load_file(whole / "weights.safetensors")
        train(recipe_of(data, hold_out=["two"]), whole, device=CPU, resume=True)
        after = load_file(whole / "weights.safetensors")
        assert all(torch.equal(before[name], after[name]) for name in before)

    @pytest.mark.parametrize(
        ("changes", "name"),
        [
            ({"seed": 5}, "seed"),
            ({"hold_out": ["one"]}, "hold_out"),
            ({"network": TINY.model_copy(update={"top_k": 9})}, "network"),
            ({"phases": [{"steps": 4, "size": (32, 48), "cycle": True}]}, "phases"),
            (
                {"phases": [{"steps": 3, "size": (32, 48)}, {"steps": 1, "size": (32, 48)}]},
                "phases",
            ),
            ({"phases": [{"steps": 2, "size": (32, 48)}, CYCLE]}, "phases"),
            ({"seed": 5, "gamma": 2.0}, "gamma, seed"),
        ],
    )
    def test_is_not_resumed_with_another_recipe(
        self, changes: dict[str, Any], name: str, whole: Path, data: Path
    ) -> None:
        recipe = recipe_of(data, **{"hold_out": ["two"], **changes})
        before = (whole / "recipe.json").read_text()
        with pytest.raises(UsageError, match=f"has another {name} than the recipe"):
            train(recipe, whole, device=CPU, resume=True)
        assert (whole / "recipe.json").read_text() == before

    @pytest.mark.usefixtures("soon_done")
    def test_may_be_made_longer_when_it_is_resumed(self, data: Path, tmp_path: Path) -> None:
        for steps in (2, 3):
            phases = [{"steps": steps, "size": (32, 48)}]
            train(recipe_of(data, phases=phases), tmp_path, device=CPU, resume=steps == 3)
        assert [entry["step"] for entry in log_of(tmp_path)] == [1, 2, 3]
        card = read_header(tmp_path / "weights.safetensors")["card"]
        assert (card["step"], card["recipe"]["phases"][0]["steps"]) == (3, 3)
        with pytest.raises(UsageError, match="has taken 3 steps, the recipe has 2"):
            phases = [{"steps": 2, "size": (32, 48)}]
            train(recipe_of(data, phases=phases), tmp_path, device=CPU, resume=True)

    @pytest.mark.usefixtures("soon_done")
    def test_is_not_resumed_with_other_data(self, tmp_path: Path) -> None:
        data, folder = write_library(tmp_path / "data"), tmp_path / "run"
        with pytest.raises(Killed):
            train(recipe_of(data), folder, device=CPU, report=kill_at(1))
        write_photograph(data / "photographs", "c")
        with pytest.raises(InputError, match=r"other data: .*'photographs': 2.*'photographs': 3"):
            train(recipe_of(data), folder, device=CPU, resume=True)

    @pytest.mark.usefixtures("soon_done")
    def test_that_was_killed_at_once_can_be_resumed(self, data: Path, tmp_path: Path) -> None:
        with pytest.raises(Killed):
            train(recipe_of(data), tmp_path, device=CPU, report=kill_at(1))
        train(recipe_of(data), tmp_path, device=CPU, resume=True)
        assert [entry["step"] for entry in log_of(tmp_path)] == [1, 2, 3, 4]

    @pytest.mark.parametrize("name", ["weights.safetensors", "log.jsonl"])
    def test_does_not_mix_with_what_is_left_of_another(
        self, name: str, data: Path, tmp_path: Path
    ) -> None:
        (tmp_path / name).write_text("precious")
        with pytest.raises(OutputError, match=f"{name}: exists already; the folder holds a run"):
            train(recipe_of(data), tmp_path, device=CPU)
        assert (tmp_path / name).read_text() == "precious"

    def test_is_not_overwritten(self, whole: Path, data: Path) -> None:
        before = (whole / "checkpoint.pt").stat()
        with pytest.raises(OutputError, match="holds a run: --resume it"):
            train(recipe_of(data), whole, device=CPU)
        after = (whole / "checkpoint.pt").stat()
        assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)

    def test_that_is_not_there_cannot_be_resumed(self, data: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="expected a run to resume, found none"):
            train(recipe_of(data), tmp_path / "run", device=CPU, resume=True)
        assert not (tmp_path / "run").exists()

    def test_needs_a_folder_that_can_be_made(self, data: Path, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for folder in (tmp_path / "file", tmp_path / "file" / "run"):
            with pytest.raises(OutputError, match="cannot be written"):
                train(recipe_of(data), folder, device=CPU)

    @pytest.mark.usefixtures("soon_started")
    def test_stops_where_the_loss_is_no_number_and_keeps_what_was_saved(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        losses = iter([1.0, 1.0, math.nan])

        def broken(network: Stm, *others: object, **settings: object) -> Tensor:
            return next(losses) * network.decoder.head.weight.sum().square()[None]

        monkeypatch.setattr("vostool.train.loop.unroll", broken)
        with pytest.raises(TrainingError, match="the loss is nan at step 2"):
            train(recipe_of(data), tmp_path, device=CPU)
        saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
        assert saved["step"] == 2
        assert not (tmp_path / "weights.safetensors").exists()

    def test_that_cannot_be_saved_is_an_error_of_one_line(
        self, started: Run[Stm], tmp_path: Path
    ) -> None:
        with pytest.raises(OutputError, match=r"checkpoint\.pt: cannot be written: .+") as caught:
            started.save(tmp_path / "none" / "checkpoint.pt")
        assert len(str(caught.value).splitlines()) == 1

    def test_is_not_resumed_with_another_network(
        self, whole: Path, data: Path, tmp_path: Path
    ) -> None:
        wider = TINY.model_copy(update={"key_channels": 9})
        (tmp_path / "checkpoint.pt").symlink_to(whole / "checkpoint.pt")
        with pytest.raises(UsageError, match="another network than"):
            train(
                recipe_of(data, network=wider, hold_out=["two"]), tmp_path, device=CPU, resume=True
            )

    @pytest.mark.parametrize(
        "content", [b"damaged", b"hello world", b"", b"PK\x03\x04", [1, 2], {"step": 3}]
    )
    def test_is_not_resumed_from_a_damaged_checkpoint(
        self, content: object, data: Path, tmp_path: Path
    ) -> None:
        checkpoint = tmp_path / "checkpoint.pt"
        if isinstance(content, bytes):
            checkpoint.write_bytes(content)
        else:
            torch.save(content, checkpoint)
        with pytest.raises(WeightsError, match=r"checkpoint\.pt: "):
            train(recipe_of(data), tmp_path, device=CPU, resume=True)

    def test_a_checkpoint_with_code_is_refused_without_advice_to_run_it(
        self, tmp_path: Path
    ) -> None:
        torch.save({"network": functools.partial(print, "run")}, tmp_path / "checkpoint.pt")
        with pytest.raises(WeightsError, match=r"checkpoint\.pt: cannot be read") as caught:
            read_checkpoint(tmp_path / "checkpoint.pt")
        assert "weights_only" not in str(caught.value)

    @pytest.mark.parametrize(
        "value", [None, 3, -1, "x", [1], {"a": "b"}, {0: None}, {"state": "x"}]
    )
    @pytest.mark.parametrize("part", [field.name for field in dataclasses.fields(Run)])
    def test_a_checkpoint_with_a_part_of_a_wrong_type_is_a_weights_error(
        self, part: str, value: object, started: Run[Stm], tmp_path: Path
    ) -> None:
        if (part, value) in (("step", 3), ("losses", [1])):
            pytest.skip("a right value")
        path = tmp_path / "checkpoint.pt"
        started.save(path)
        torch.save({**torch.load(path, weights_only=True), part: value}, path)
        with pytest.raises(WeightsError, match=r"checkpoint\.pt: ") as caught:
            copy.deepcopy(started).load(read_checkpoint(path), path)
        assert len(str(caught.value).splitlines()) == 1

    @pytest.mark.parametrize(
        "moments",
        [
            None,
            {},
            {"step": torch.tensor(1.0)},
            {"step": 1, "exp_avg": 1, "exp_avg_sq": 1},
            {name: torch.zeros(3) for name in ("step", "exp_avg", "exp_avg_sq")},
        ],
    )
    def test_a_checkpoint_with_moments_of_no_weight_is_a_weights_error(
        self, moments: object, started: Run[Stm], tmp_path: Path
    ) -> None:
        path = tmp_path / "checkpoint.pt"
        started.save(path)
        state = torch.load(path, weights_only=True)
        state["optimizer"]["state"] = {0: moments}
        torch.save(state, path)
        with pytest.raises(WeightsError, match="does not match the network"):
            copy.deepcopy(started).load(read_checkpoint(path), path)

    def test_a_checkpoint_of_settings_too_wide_is_a_weights_error(
        self, started: Run[Stm], tmp_path: Path
    ) -> None:
        path = tmp_path / "checkpoint.pt"
        started.save(path)
        state = torch.load(path, weights_only=True)
        state["recipe"]["network"]["key_channels"] = 10**8  # no machine holds these
        torch.save(state, path)
        with pytest.raises(WeightsError, match="size mismatch"):
            export_run(tmp_path, tmp_path / "new.safetensors")

    @pytest.mark.filterwarnings("ignore:Validating sparse tensor")
    @pytest.mark.parametrize(
        "change",
        [
            lambda weight: weight.to_sparse(),
            lambda weight: weight.to("meta"),
            lambda weight: weight.to(torch.complex64),
            lambda weight: torch.zeros(1).expand(weight.shape),
        ],
        ids=["sparse", "meta", "complex", "expanded"],
    )
    def test_a_checkpoint_with_weights_that_are_no_plain_numbers_is_a_weights_error(
        self, change: Callable[[Tensor], Tensor], started: Run[Stm], tmp_path: Path
    ) -> None:
        path = tmp_path / "checkpoint.pt"
        started.save(path)
        state = torch.load(path, weights_only=True)
        state["network"]["query_key.bias"] = change(state["network"]["query_key.bias"])
        torch.save(state, path)
        with pytest.raises(WeightsError, match=r"query_key\.bias: expected plain"):
            export_run(tmp_path, tmp_path / "new.safetensors")

    def test_a_resumed_run_keeps_the_step_counters_of_adam_on_the_cpu(
        self, run: Run[Stm], recipe: Recipe, tmp_path: Path
    ) -> None:
        step_on(run, recipe, batch(2))
        run.save(tmp_path / "checkpoint.pt")
        with warnings.catch_warnings():  # of weights that are not copied there
            warnings.simplefilter("ignore")
            resumed = copy.deepcopy(run)
            resumed.network.to("meta")  # stands for a GPU
            resumed.average.to("meta")
            resumed.optimizer = make_optimizer(resumed.network, resumed.network.pretrained, recipe)
            resumed.load(read_checkpoint(tmp_path / "checkpoint.pt"), tmp_path)
        moments = list(resumed.optimizer.state.values())
        assert moments
        assert {value["step"].device.type for value in moments} == {"cpu"}
        assert {value["exp_avg"].device.type for value in moments} == {"meta"}

    @pytest.mark.usefixtures("soon_started")
    def test_a_run_whose_last_step_leaves_a_weight_not_finite_exports_and_saves_nothing(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("vostool.train.loop.unroll", head_loss)
        recipe = recipe_of(data, weight_decay=1e308, phases=[{"steps": 1, "size": (32, 48)}])
        monkeypatch.setattr(
            "vostool.train.loop.start_run",
            lambda recipe, device: run_with(Stm(TINY), recipe, device),
        )
        with pytest.raises(TrainingError, match="a weight is not finite after step 0"):
            train(recipe, tmp_path, device=CPU)
        saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
        assert saved["step"] == 0
        assert not (tmp_path / "weights.safetensors").exists()

    @pytest.mark.parametrize("value", [math.nan, math.inf, 1e6])
    def test_weights_that_are_not_finite_in_16_bits_are_not_exported(
        self, value: float, run: Run[Stm], tmp_path: Path
    ) -> None:
        with torch.no_grad():
            run.average.decoder.head.weight[0, 0, 0, 0] = value
        run.save(tmp_path / "checkpoint.pt")
        with pytest.raises(WeightsError, match=r"decoder\.head\.weight holds values"):
            export_run(tmp_path, tmp_path / "weights.safetensors")
        assert not (tmp_path / "weights.safetensors").exists()

    @pytest.mark.usefixtures("soon_done")
    def test_without_held_out_clips_still_logs_json(self, data: Path, tmp_path: Path) -> None:
        train(recipe_of(data), tmp_path, device=CPU)
        for line in (tmp_path / "log.jsonl").read_text().splitlines():
            json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def head_loss(network: Stm, *others: object, **settings: object) -> Tensor:
    """A loss that is soon computed."""
    return network.decoder.head.weight.sum().square()[None]
