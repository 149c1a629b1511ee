from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from tests.conftest import ColourMemory, ColourSegmenter, Scene
from vostool.cycle import cycle_loss, revisit
from vostool.losses import mask_loss
from vostool.model.aggregate import aggregate
from vostool.model.interface import Reference

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
