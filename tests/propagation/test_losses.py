import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from vostool.model.aggregate import aggregate
from vostool.propagation.losses import HARDEST, cross_entropy, mask_loss, roughness, soft_iou_loss


def with_background(objects: Tensor) -> Tensor:
    """Put the background before objects (B, N, H, W)."""
    return torch.cat([1 - objects.sum(dim=1, keepdim=True), objects], dim=1)


def row(*probabilities: float) -> Tensor:
    """Return the masks of one object, one pixel high."""
    return with_background(torch.tensor(probabilities).view(1, 1, 1, -1))


@pytest.fixture
def truth() -> Tensor:
    """Two clips of two objects each, 4 x 6 pixels."""
    labels = torch.zeros(2, 4, 6, dtype=torch.int64)
    labels[0, :2, :3], labels[0, 2:, 3:] = 1, 2
    labels[1, 1:3], labels[1, 3, :2] = 1, 2
    return torch.nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2).float()


@pytest.fixture
def soft() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 4, 6, generator=generator).softmax(dim=1)


class TestEquation4:
    def test_adds_both_losses_the_second_times_gamma(self, soft: Tensor, truth: Tensor) -> None:
        for gamma in (0.0, 1.0, 2.5):
            expected = soft_iou_loss(soft, truth) + gamma * cross_entropy(soft, truth)
            torch.testing.assert_close(mask_loss(soft, truth, gamma), expected)

    def test_is_nothing_where_the_masks_are_the_truth(self, truth: Tensor) -> None:
        torch.testing.assert_close(mask_loss(truth, truth), torch.zeros(2))

    def test_grows_as_the_masks_leave_the_truth(self, soft: Tensor, truth: Tensor) -> None:
        losses = [mask_loss(truth.lerp(soft, share), truth) for share in (0.0, 0.3, 0.6, 1.0)]
        for less, more in pairwise(losses):
            assert (less < more).all()

    def test_is_one_value_for_each_clip(self, soft: Tensor, truth: Tensor) -> None:
        both = mask_loss(soft, truth)
        assert both.shape == (2,)
        for b in range(2):
            torch.testing.assert_close(
                both[b : b + 1], mask_loss(soft[b : b + 1], truth[b : b + 1])
            )

    def test_has_finite_gradients_at_0_and_1(self, truth: Tensor) -> None:
        for masks in (truth, truth.flip(1)):
            leaf = masks.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(mask_loss(leaf, truth).sum(), leaf)
            assert gradient.isfinite().all()

    def test_has_the_gradients_of_finite_differences(self, truth: Tensor) -> None:
        generator = torch.Generator().manual_seed(1)
        logits = torch.randn(2, 3, 4, 6, generator=generator).double().requires_grad_()
        assert torch.autograd.gradcheck(
            lambda x: mask_loss(x.softmax(dim=1), truth.double()), logits
        )


class TestEquation5:
    def test_is_one_minus_the_sum_of_minima_over_the_sum_of_maxima(self) -> None:
        masks, truth = row(0.9, 0.6, 0.2, 0.0), row(1.0, 1.0, 0.0, 0.0)
        expected = 1 - (0.9 + 0.6) / (1.0 + 1.0 + 0.2)
        torch.testing.assert_close(soft_iou_loss(masks, truth), torch.tensor([expected]))

    def test_is_nothing_for_an_object_of_one_pixel_that_is_found(self) -> None:
        one = row(0.0, 1.0, 0.0)
        assert soft_iou_loss(one, one).item() == 0

    def test_is_the_mean_over_objects(self, soft: Tensor, truth: Tensor) -> None:
        each = [soft_iou_loss(soft[:, [0, n]], truth[:, [0, n]]) for n in (1, 2)]
        torch.testing.assert_close(soft_iou_loss(soft, truth), sum(each, torch.zeros(2)) / 2)

    def test_does_not_count_objects_that_the_truth_does_not_show(
        self, soft: Tensor, truth: Tensor
    ) -> None:
        hidden = truth.clone()
        hidden[0, 0] += hidden[0, 2]
        hidden[0, 2] = 0
        loss = soft_iou_loss(soft, hidden)
        torch.testing.assert_close(loss[:1], soft_iou_loss(soft[:1, :2], truth[:1, :2]))
        torch.testing.assert_close(loss[1:], soft_iou_loss(soft, truth)[1:])

    def test_is_nothing_where_the_truth_shows_no_object_at_all(self, soft: Tensor) -> None:
        empty = with_background(torch.zeros(2, 2, 4, 6))
        assert torch.equal(soft_iou_loss(soft, empty), torch.zeros(2))

    def test_is_nothing_for_an_object_that_is_neither_there_nor_predicted(
        self, truth: Tensor
    ) -> None:
        alone = truth.clone()
        alone[:, 0] += alone[:, 2]
        alone[:, 2] = 0
        assert torch.equal(soft_iou_loss(alone, alone), torch.zeros(2))

    def test_does_not_look_at_the_background(self, soft: Tensor, truth: Tensor) -> None:
        other = soft.clone()
        other[:, 0] = 0.123
        assert torch.equal(soft_iou_loss(other, truth), soft_iou_loss(soft, truth))


class TestEquation6:
    def test_is_the_mean_of_minus_log_of_the_true_one_s_mask(self) -> None:
        masks, truth = row(0.9, 0.6, 0.2, 0.1), row(1.0, 1.0, 0.0, 0.0)
        expected = -sum(map(math.log, (0.9, 0.6, 0.8, 0.9))) / 4
        got = cross_entropy(masks, truth, hardest=1)
        torch.testing.assert_close(got, torch.tensor([expected]))

    def test_counts_pixels_in_full_that_are_all_but_lost(self) -> None:
        got = cross_entropy(row(1e-20), row(1.0), hardest=1)
        torch.testing.assert_close(got, torch.tensor([20 * math.log(10)]))

    def test_counts_only_the_hardest_pixels_of_each_clip(self) -> None:
        masks = torch.cat([row(0.9, 0.6, 0.8, 0.7, 0.95), row(0.5, 0.99, 0.4, 0.99, 0.99)])
        truth = torch.cat([row(1.0, 1.0, 1.0, 1.0, 1.0)] * 2)
        assert HARDEST == 0.4  # of five pixels, two
        expected = [-(math.log(a) + math.log(b)) / 2 for a, b in ((0.6, 0.7), (0.5, 0.4))]
        torch.testing.assert_close(cross_entropy(masks, truth), torch.tensor(expected))

    def test_is_over_all_objects_and_the_background_at_once(
        self, soft: Tensor, truth: Tensor
    ) -> None:
        expected = torch.nn.functional.nll_loss(
            soft.log(), truth.argmax(dim=1), reduction="none"
        ).mean(dim=(1, 2))
        torch.testing.assert_close(cross_entropy(soft, truth, hardest=1), expected)

    def test_counts_at_least_one_pixel(self) -> None:
        got = cross_entropy(row(0.5), row(1.0))
        torch.testing.assert_close(got, torch.tensor([math.log(2)]))

    @pytest.mark.parametrize(
        "logit",
        [
            -6.0,
            -12.0,
        ],
    )
    def test_pulls_at_pixels_that_are_surely_wrong(self, logit: float) -> None:
        logits = torch.full((1, 1, 2, 2), logit, requires_grad=True)
        truth = with_background(torch.ones(1, 1, 2, 2))
        (gradient,) = torch.autograd.grad(cross_entropy(aggregate(logits), truth).sum(), logits)
        # the slope of -log(sigmoid(2 x)), to which p^2 / (p^2 + (1 - p)^2) comes down
        assert gradient.sum() == pytest.approx(-2, abs=0.1)


class TestEquation11:
    def test_is_the_mean_squared_slope_by_sobel(self) -> None:
        steps = torch.tensor([0.0, 0.5, 0.25, 0.25]).expand(1, 1, 5, 4)
        across = torch.tensor([0.5, 0.25, -0.25, 0.0])  # right neighbour less left one
        torch.testing.assert_close(roughness(steps), (4 * across).square().mean().view(1))
        torch.testing.assert_close(roughness(steps.mT), roughness(steps))

    def test_is_nothing_where_masks_are_even(self) -> None:
        assert roughness(torch.full((2, 3, 4, 6), 0.5)).tolist() == [0, 0]

    def test_sums_objects_and_keeps_clips_apart(self, soft: Tensor) -> None:
        parts = [[roughness(soft[b : b + 1, n : n + 1]) for n in range(3)] for b in range(2)]
        torch.testing.assert_close(roughness(soft), torch.tensor([sum(row) for row in parts]))

    def test_is_less_for_a_blurred_mask(self, truth: Tensor) -> None:
        blurred = torch.nn.functional.avg_pool2d(truth, 3, 1, 1, count_include_pad=False)
        assert (roughness(blurred) < roughness(truth)).all()
