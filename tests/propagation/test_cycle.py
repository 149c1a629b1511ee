from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor

from tests.conftest import TINY, ColourMemory, ColourSegmenter, Scene, scene
from vostool.errors import UsageError
from vostool.model.aggregate import aggregate
from vostool.model.interface import Reference
from vostool.model.memory import KernelMemory
from vostool.model.object_chunks import InChunks
from vostool.model.stm import Stm, StmFeatures
from vostool.propagation.correction import (
    PAPER_PIXELS,
    Goal,
    GradientCorrection,
    Step,
    admissible,
    at_rate,
    descend,
    explain,
    of_length,
    receptive_field,
    settle,
    summing_to_one,
    with_background,
)
from vostool.propagation.cycle import cycle_loss, revisit
from vostool.propagation.losses import mask_loss, roughness

LATER = 5  # the frame from which the first is explained


@pytest.fixture
def reference(clip: Scene) -> Reference[Tensor]:
    return Reference(clip.images[0], clip.masks[0])


def loss_of(masks: Tensor, clip: Scene, reference: Reference[Tensor]) -> float:
    return cycle_loss(ColourSegmenter(), clip.images[LATER], masks, reference).item()


def test_the_right_masks_explain_the_reference_better_than_wrong_ones(
    clip: Scene, reference: Reference[Tensor]
) -> None:
    right = clip.masks[LATER]
    missed = loss_of(right, clip, reference)
    assert missed < 0.1
    for shift in (3, 8, 24):
        worse = loss_of(right.roll(shift, dims=3), clip, reference)
        assert worse > missed
        missed = worse
    assert loss_of(right.flip(1), clip, reference) > missed


def test_equation_2_remembers_the_frame_alone(clip: Scene, reference: Reference[Tensor]) -> None:
    @dataclass
    class Watched(ColourSegmenter):
        given: list[ColourMemory | None] = field(default_factory=list)

        def memorize(
            self,
            features: Tensor,
            masks: Tensor,
            memory: ColourMemory | None = None,
            annotated: bool = False,
        ) -> ColourMemory:
            self.given.append(memory)
            return super().memorize(features, masks, memory)

    segmenter = Watched()
    got = revisit(segmenter, clip.images[LATER], clip.masks[LATER], reference)
    assert segmenter.given == [None]
    memory = segmenter.memorize(clip.images[LATER], clip.masks[LATER])
    torch.testing.assert_close(got, aggregate(segmenter.segment(clip.images[0], memory)))


def test_equation_7_is_the_mask_loss_of_the_reference_found_again(
    clip: Scene, reference: Reference[Tensor]
) -> None:
    masks = clip.masks[LATER].roll(4, dims=3)
    again = revisit(ColourSegmenter(), clip.images[LATER], masks, reference)
    torch.testing.assert_close(
        cycle_loss(ColourSegmenter(), clip.images[LATER], masks, reference),
        mask_loss(again, clip.masks[0]),
    )


def test_going_down_its_gradient_makes_wrong_masks_explain_better(
    clip: Scene, reference: Reference[Tensor]
) -> None:
    masks = clip.masks[LATER].roll(8, dims=3).lerp(torch.full_like(clip.masks[0], 0.5), 0.2)
    masks.requires_grad_()
    loss = cycle_loss(ColourSegmenter(), clip.images[LATER], masks, reference)
    (gradient,) = torch.autograd.grad(loss.sum(), masks)
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0
    assert loss_of((masks - 10 * gradient).detach(), clip, reference) < loss.item()
    # and it says where: less of the object where the square is not
    square = clip.masks[LATER][:, 1] > 0
    assert gradient[:, 1][~square].mean() > gradient[:, 1][square].mean()


def test_its_gradient_foretells_how_the_loss_changes(
    clip: Scene, reference: Reference[Tensor]
) -> None:
    masks = clip.masks[LATER].lerp(torch.full_like(clip.masks[0], 0.5), 0.3).requires_grad_()
    loss = cycle_loss(ColourSegmenter(), clip.images[LATER], masks, reference)
    (gradient,) = torch.autograd.grad(loss.sum(), masks)
    step = 0.1 * gradient / gradient.norm()
    ahead, behind = (loss_of((masks + way * step).detach(), clip, reference) for way in (1, -1))
    assert ahead - behind == pytest.approx(2 * (gradient * step).sum().item(), rel=0.02)


def test_clips_of_a_batch_do_not_meet(clip: Scene, reference: Reference[Tensor]) -> None:
    wrong = clip.masks[LATER].roll(8, dims=3)
    pair = Reference(clip.images[0].repeat(2, 1, 1, 1), clip.masks[0].repeat(2, 1, 1, 1))
    losses = cycle_loss(
        ColourSegmenter(),
        clip.images[LATER].repeat(2, 1, 1, 1),
        torch.cat([clip.masks[LATER], wrong]),
        pair,
    )
    alone = [loss_of(masks, clip, reference) for masks in (clip.masks[LATER], wrong)]
    torch.testing.assert_close(losses, torch.tensor(alone))


WHOLE = (0, 1)  # the channels of background and object


def soft(masks: Tensor) -> Tensor:
    """Return masks that are less sure."""
    return masks.lerp(torch.full_like(masks, 1 / masks.shape[1]), 0.3)


def goal(clip: Scene) -> Goal[Tensor]:
    return Goal(WHOLE, Reference(clip.images[0], clip.masks[0]))


def network_goal(network: Stm, clip: Scene) -> tuple[StmFeatures, Goal[StmFeatures]]:
    """Return a frame as the network sees it, and the first one for it to explain."""
    with torch.no_grad():
        shown, first = (network.encode(clip.images[index]) for index in (LATER, 0))
    return shown, Goal(WHOLE, Reference(first, clip.masks[0]))


def test_a_correction_compares_both_frames_once_whatever_its_steps(
    clip: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = Stm(TINY.model_copy(update={"keys": "shared", "memory": "kmn"})).eval()
    network.requires_grad_(False)
    shown, first = network_goal(network, clip)
    calls, whole = [], KernelMemory.similarities

    def similarities(self: KernelMemory, keys: Tensor, query: Tensor) -> Tensor:
        calls.append(keys.shape)
        return whole(self, keys, query)

    monkeypatch.setattr(KernelMemory, "similarities", similarities)
    for most in (None, 1):
        corrected = GradientCorrection(steps=4)(
            InChunks(network, most), shown, soft(clip.masks[LATER]), [first]
        )
        assert not torch.equal(corrected, soft(clip.masks[LATER]))
    assert len(calls) == 2


def correct(clip: Scene, masks: Tensor, **options: Any) -> Tensor:
    correction = GradientCorrection(**{"rate": 3e4, "smooth": 0.0} | options)
    return correction(ColourSegmenter(), clip.images[LATER], masks, [goal(clip)])


class TestGradient:
    """What the correction descends, and by how much."""

    @pytest.mark.parametrize("smooth", [0.0, 0.75])
    def test_equals_finite_differences(
        self, smooth: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Tensor, "float", Tensor.double)  # log-odds are float32 else
        torch.manual_seed(2)
        network = Stm(TINY.model_copy(update={"keys": "shared", "similarity": "l2"})).double()
        images = torch.rand(2, 1, 3, 32, 48, dtype=torch.float64)
        truth = with_background(torch.zeros(1, 2, 32, 48, dtype=torch.float64))
        truth[:, :, 4:20] = torch.tensor([0.0, 1, 0]).view(1, 3, 1, 1)
        truth[:, :, 20:, 8:30] = torch.tensor([0.0, 0, 1]).view(1, 3, 1, 1)
        with torch.no_grad():
            shown, first = (network.eval().encode(image) for image in images)
        both = Goal((0, 1, 2), Reference(first, truth))

        def losses(objects: Tensor) -> list[Tensor]:
            return [*explain(network, shown, [both])(objects), smooth * roughness(objects)]

        masks = 0.2 + 0.2 * torch.rand(1, 2, 32, 48, dtype=torch.float64)
        step = next(descend(losses, masks, at_rate(PAPER_PIXELS / (32 * 48))))
        gradient = masks - step.after  # at that rate, the gradient of the loss itself
        with torch.no_grad():
            for seed in range(3):
                generator = torch.Generator().manual_seed(seed)
                way = torch.randn(masks.shape, generator=generator, dtype=torch.float64)
                ahead, behind = (
                    torch.stack(losses(masks + sign * 1e-6 * way)).sum().item() for sign in (1, -1)
                )
                expected = (ahead - behind) / 2e-6
                assert (gradient * way).sum().item() == pytest.approx(expected, rel=1e-4)

    def test_of_a_pixel_moves_it_alike_at_every_size(self) -> None:
        def losses(objects: Tensor) -> list[Tensor]:
            return [objects.square().mean(dim=(1, 2, 3))]

        steps = [
            next(descend(losses, torch.ones(1, 1, height, width), at_rate(1e4))).after.mean()
            for height, width in ((24, 32), (240, 320))
        ]
        torch.testing.assert_close(steps[0], steps[1])
        assert steps[0].item() == pytest.approx(1 - 2 * 1e4 / PAPER_PIXELS)

    def test_at_the_papers_size_a_step_is_alpha_times_the_gradient_of_the_mean_loss(self) -> None:
        pixels = 240 * 427
        assert torch.equal(at_rate(pixels)(torch.ones(1, 1, 2, 2)), torch.ones(1, 1, 2, 2))
        assert pixels == PAPER_PIXELS

    def test_keeps_clips_of_a_batch_apart(self, clip: Scene) -> None:
        wrong = soft(clip.masks[LATER].roll(8, dims=3))
        pair = Goal(WHOLE, Reference(clip.images[0].repeat(2, 1, 1, 1), clip.masks[0]))
        both = torch.cat([soft(clip.masks[LATER]), wrong])
        shown = clip.images[LATER].repeat(2, 1, 1, 1)
        together = GradientCorrection(rate=3e4, smooth=0.75)(ColourSegmenter(), shown, both, [pair])
        alone = correct(clip, wrong, smooth=0.75)
        torch.testing.assert_close(together[1:], alone)


class TestGradientCorrection:
    def test_follows_equation_8(self, clip: Scene) -> None:
        masks = soft(clip.masks[LATER].roll(4, dims=3))
        objects = masks[:, 1:]
        pixels = objects.shape[2] * objects.shape[3]
        for _ in range(3):
            leaf = objects.detach().requires_grad_()
            loss = cycle_loss(
                ColourSegmenter(),
                clip.images[LATER],
                torch.cat([1 - leaf, leaf], dim=1),
                goal(clip).reference,
            )
            loss = loss + 0.75 * roughness(leaf)
            (gradient,) = torch.autograd.grad(loss.sum(), leaf)
            objects = (objects - 500 * pixels / PAPER_PIXELS * gradient).clamp(0, 1)
        got = correct(clip, masks, steps=3, rate=500.0, smooth=0.75)
        torch.testing.assert_close(got[:, 1:], objects)

    def test_brings_wrong_masks_nearer_to_the_truth(self, clip: Scene) -> None:
        wrong = soft(clip.masks[LATER].roll(6, dims=3))
        before, after = (
            (masks - clip.masks[LATER]).abs().mean() for masks in (wrong, correct(clip, wrong))
        )
        assert after < 0.9 * before

    def test_lowers_the_loss_step_by_step_for_a_network(self, network: Stm, clip: Scene) -> None:
        shown, first = network_goal(network, clip)
        steps = descend(
            explain(network, shown, [first]),
            soft(clip.masks[LATER])[:, 1:],
            at_rate(100.0),
            admissible,
        )
        losses = [step.loss.item() for step in islice(steps, 8)]
        assert all(later < earlier for earlier, later in pairwise(losses))

    @pytest.mark.parametrize("smooth", [0.0, 0.75])
    def test_returns_masks(self, smooth: float) -> None:
        two = scene(two=True)
        late = Goal((0, 1, 2), Reference(two.images[LATER], two.masks[LATER]))
        wrong = soft(two.masks[LATER + 1].roll(5, dims=3))
        correction = GradientCorrection(rate=1e6, smooth=smooth)
        masks = correction(ColourSegmenter(), two.images[LATER + 1], wrong, [late])
        assert masks.amin() >= 0
        assert masks.amax() <= 1
        torch.testing.assert_close(masks.sum(dim=1), torch.ones(1, 48, 64))

    @pytest.mark.parametrize("options", [{"steps": 0}, {"rate": 0.0}, {"length": 0.0}])
    def test_without_steps_or_rate_returns_what_it_got(
        self, options: dict[str, Any], clip: Scene
    ) -> None:
        masks = soft(clip.masks[LATER])
        assert correct(clip, masks, **options) is masks
        assert not any(GradientCorrection(**options).due(index) for index in range(20))

    def test_of_a_length_moves_each_object_by_that_much(self) -> None:
        two = scene(two=True)
        first = Goal((0, 1, 2), Reference(two.images[LATER], two.masks[LATER]))
        masks = soft(two.masks[LATER])
        correction = GradientCorrection(steps=1, length=0.01)
        moved = correction(ColourSegmenter(), two.images[LATER], masks, [first]) - masks
        change = moved[:, 1:].square().mean(dim=(2, 3)).sqrt()
        torch.testing.assert_close(change, torch.full((1, 2), 0.01))

    def test_of_a_length_moves_it_by_that_much_along_the_faintest_gradient(self) -> None:
        step = of_length(0.25)(torch.full((1, 1, 4, 6), -1e-9))
        torch.testing.assert_close(step, torch.full((1, 1, 4, 6), -0.25))

    def test_of_a_length_leaves_an_object_without_a_gradient_where_it_is(self) -> None:
        gradient = torch.stack([torch.zeros(4, 6), torch.ones(4, 6)])[None]
        expected = torch.stack([torch.zeros(4, 6), torch.full((4, 6), 0.25)])[None]
        torch.testing.assert_close(of_length(0.25)(gradient), expected)

    def test_is_by_default_that_of_the_papers_without_the_journal_s_smooth_term(self) -> None:
        """N and K of section 4.1; alpha, of which it says nothing, as in the authors' code."""
        expected = GradientCorrection(every=5, steps=10, rate=180.0, smooth=0.0)
        assert GradientCorrection() == expected
        assert not GradientCorrection().memory_only

    @pytest.mark.parametrize("gradients", [False, True])
    def test_holds_no_graph_from_one_step_to_the_next(self, gradients: bool) -> None:
        """That of each would otherwise stay in memory until the last."""
        start = torch.full((1, 1, 4, 6), 0.5)
        with torch.set_grad_enabled(gradients):
            steps = descend(lambda each: [each.square().mean(dim=(1, 2, 3))], start, at_rate(1.0))
            for step in islice(steps, 3):
                assert not any(each.requires_grad for each in step)
        assert not start.requires_grad

    def test_starts_its_direction_from_nothing_whatever_it_adds_up(self) -> None:
        def heading(before: Tensor, gradient: Tensor) -> Tensor:
            return before + gradient

        start = torch.ones(1, 1, 4, 6)
        steps = descend(
            lambda each: [each.mean(dim=(1, 2, 3))], start, at_rate(PAPER_PIXELS), heading=heading
        )
        moved = [(step.after - start).mean().item() for step in islice(steps, 3)]
        assert moved == pytest.approx([-1, -3, -6])  # by one gradient, by two more, by three more

    def test_is_due_every_so_many_frames(self) -> None:
        correction = GradientCorrection(every=3)
        assert [index for index in range(10) if correction.due(index)] == [0, 3, 6, 9]

    def test_works_for_callers_without_gradients_and_leaves_the_weights_alone(
        self, network: Stm, clip: Scene
    ) -> None:
        shown, first = network_goal(network, clip)
        masks = soft(clip.masks[LATER])
        with torch.no_grad():
            moved = GradientCorrection(steps=2)(network, shown, masks, [first])
            assert not torch.is_grad_enabled()
        assert not moved.requires_grad
        assert not torch.equal(moved, masks)
        assert all(weight.grad is None for weight in network.parameters())

    def test_goes_toward_several_references_at_once(self) -> None:
        two = scene(two=True)
        shown, masks = two.images[LATER], soft(two.masks[LATER])
        first = Goal((0, 1), Reference(two.images[0], two.masks[0][:, :2]))
        late = Goal((0, 2), Reference(two.images[3], two.masks[3][:, [0, 2]]))
        losses = [
            cycle_loss(ColourSegmenter(), shown, masks[:, list(each.channels)], each.reference)
            for each in (first, late)
        ]
        both = list(explain(ColourSegmenter(), shown, [first, late])(masks[:, 1:]))
        torch.testing.assert_close(both, losses)

        def all_losses(objects: Tensor) -> Iterator[Tensor]:
            for loss in explain(ColourSegmenter(), shown, [first, late])(objects):
                yield loss
                with pytest.raises(RuntimeError, match="second time"):  # what it took is freed
                    torch.autograd.grad(loss.sum(), objects)

        step = next(descend(all_losses, masks[:, 1:], at_rate(1.0)))
        torch.testing.assert_close(step.loss, losses[0] + losses[1])

    def test_stops_once_the_loss_no_longer_falls(self, network: Stm, clip: Scene) -> None:
        shown, first = network_goal(network, clip)

        def run(steps: int, tolerance: float | None = None) -> Tensor:
            correction = GradientCorrection(steps=steps, smooth=0.0, tolerance=tolerance)
            return correction(network, shown, soft(clip.masks[LATER]), [first])

        few = run(12, tolerance=0.01)
        assert [steps for steps in range(13) if torch.equal(run(steps), few)] in [
            [steps] for steps in range(1, 12)
        ]

    def test_that_overshoots_takes_the_step_back(self, network: Stm, clip: Scene) -> None:
        shown, first = network_goal(network, clip)
        masks = soft(clip.masks[LATER])

        def run(tolerance: float | None) -> Tensor:
            wild = GradientCorrection(steps=5, rate=2e4, smooth=1.0, tolerance=tolerance)
            return wild(network, shown, masks, [first])

        def loss(found: Tensor) -> float:
            cycle = cycle_loss(network, shown, found, first.reference)
            return (cycle + roughness(found[:, 1:])).item()

        assert loss(run(None)) > loss(masks)
        torch.testing.assert_close(run(0.0), masks)

    @pytest.mark.parametrize(
        "options",
        [
            {"every": 0},
            {"steps": -1},
            {"rate": -1.0},
            {"rate": float("inf")},
            {"smooth": float("nan")},
            {"tolerance": -1},
            {"length": -1},
        ],
    )
    def test_refuses_values_out_of_range(self, options: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match="expected"):
            GradientCorrection(**options)
        assert replace(GradientCorrection(), every=2).every == 2


def column(*objects: float) -> Tensor:
    """Return the objects of one pixel."""
    return torch.tensor(objects).view(1, -1, 1, 1)


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ((1.5, 0.5), (2 / 3, 1 / 3)),  # each at most 1, and together too
        ((-0.5, 0.5), (0.0, 0.5)),
        ((0.2, 0.3), (0.2, 0.3)),
        ((0.75, 0.75), (0.5, 0.5)),
    ],
)
def test_objects_become_admissible_one_by_one_and_then_together(
    objects: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    torch.testing.assert_close(admissible(column(*objects)), column(*expected))


@pytest.mark.parametrize(
    ("objects", "background", "open_background"),
    [((0.25, 0.5), 0.25, 0.25), ((1.0, 0.5), 0.0, -0.5), ((-0.5, 0.25), 1.0, 1.25)],
)
def test_the_background_is_what_objects_leave_of_one_clamped_but_for_the_cycle_erf(
    objects: tuple[float, ...], background: float, open_background: float
) -> None:
    two = torch.cat([column(*objects), column(0.0, 0.0)])  # clips, which stay apart
    for complete, expected in ((with_background, background), (summing_to_one, open_background)):
        masks = complete(two)
        assert torch.equal(masks[:, 1:], two)
        assert masks[:, 0].flatten().tolist() == [expected, 1.0]


def walk(*losses: float) -> list[Step]:
    """Return steps from 0 to 1, from 1 to 2, ..., with the loss before each."""
    return [
        Step(torch.tensor([loss]), torch.tensor(float(n)), torch.tensor(float(n + 1)))
        for n, loss in enumerate(losses)
    ]


@pytest.mark.parametrize(
    ("losses", "tolerance", "expected"),
    [
        ((4.0, 2.0, 1.0), None, 3),
        ((4.0, 5.0, 9.0), None, 3),  # without a tolerance the losses do not matter
        ((4.0, 2.0, 1.0), 0.25, 3),
        ((4.0, 3.0, 2.0), 0.25, 3),  # by just the share, which is enough
        ((4.0, 3.5, 1.0), 0.25, 1),  # by less: that step is kept, the next one dropped
        ((4.0, 2.0, 1.75, 1.0), 0.25, 2),
        ((4.0, 4.0, 1.0), 0.0, 2 + 1),  # not at all, which a tolerance of 0 allows
        ((4.0, 4.0, 1.0), 0.25, 1),  # it did not rise
        ((4.0, 4.5, 1.0), 0.25, 0),  # it rose: the step is undone
        ((4.0, 2.0, 2.5, 1.0), 0.25, 1),
        ((4.0,), 0.25, 1),
    ],
)
def test_a_descent_ends_with_the_step_that_gained_too_little_or_before_one_that_lost(
    losses: tuple[float, ...], tolerance: float | None, expected: int
) -> None:
    assert settle(walk(*losses), tolerance).item() == expected


def test_a_descent_of_several_clips_ends_by_the_sum_of_their_losses() -> None:
    steps = [each._replace(loss=each.loss.repeat(2)) for each in walk(4.0, 3.5)]
    steps[1] = steps[1]._replace(loss=torch.tensor([1.0, 5.0]))
    assert settle(steps, 0.2).item() == 2


def test_a_descent_takes_no_more_steps_than_it_must() -> None:
    taken: list[float] = []

    def steps() -> Iterator[Step]:
        for step in walk(4.0, 3.5, 1.0):
            taken.append(step.before.item())
            yield step

    settle(steps(), 0.25)
    assert taken == [0, 1]


def test_a_descent_without_a_step_has_no_end() -> None:
    with pytest.raises(ValueError, match="one step or more"):
        settle([], None)


class TestEquation12:
    def test_rises_most_where_the_object_is(self, clip: Scene) -> None:
        fields = receptive_field(ColourSegmenter(), clip.images[LATER], goal(clip).reference)
        *_, field_ = islice(fields, 20)
        square = clip.masks[LATER][:, 1:] > 0
        assert field_[square].mean() > 5 * field_[~square].mean()

    def test_begins_without_objects_and_cuts_off_only_what_is_shown(
        self, network: Stm, clip: Scene
    ) -> None:
        shown, first = network_goal(network, clip)
        empty = torch.zeros_like(clip.masks[0][:, 1:])
        steps = descend(explain(network, shown, [first]), empty, at_rate(180.0))
        free = [step.after for step in islice(steps, 4)]
        assert free[-1].amin() < 0 < free[-1].amax()
        fields = islice(receptive_field(network, shown, first.reference), 4)
        for field_, hidden in zip(fields, free, strict=True):
            assert torch.equal(field_, hidden.relu())

    def test_shows_the_model_no_object_besides_those_of_the_reference(
        self, network: Stm, clip: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By what an object and the background leave over, also where an object is below 0."""
        features, first = network_goal(network, clip)
        remembered = Mock(wraps=network.remembered)
        monkeypatch.setattr(network, "remembered", remembered)
        list(islice(receptive_field(network, features, first.reference), 4))
        masks = [call.args[1].detach() for call in remembered.call_args_list]
        assert min(each[:, 1:].amin() for each in masks) < 0
        assert all((1 - each.sum(dim=1)).abs().amax() < 1e-4 for each in masks)
