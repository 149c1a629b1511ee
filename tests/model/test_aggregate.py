import pytest
import torch

from vostool.model.aggregate import LIMIT, aggregate


@pytest.fixture
def logits() -> torch.Tensor:
    return 4 * torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))


def test_masks_sum_to_one(logits: torch.Tensor) -> None:
    masks = aggregate(logits)
    assert masks.shape == (2, 4, 5, 7)
    assert (masks >= 0).all()
    torch.testing.assert_close(masks.sum(dim=1), torch.ones(2, 5, 7))


def test_one_object_weighs_its_square_against_the_background_s(logits: torch.Tensor) -> None:
    p = logits[:, :1].sigmoid()
    expected = p**2 / (p**2 + (1 - p) ** 2)
    torch.testing.assert_close(aggregate(logits[:, :1])[:, 1:], expected)


def test_odds_are_normalised_and_the_background_is_the_product_of_absences(
    logits: torch.Tensor,
) -> None:
    p = logits.double().sigmoid()
    p = torch.cat([(1 - p).prod(dim=1, keepdim=True), p], dim=1)
    odds = p / (1 - p)
    torch.testing.assert_close(
        aggregate(logits), (odds / odds.sum(dim=1, keepdim=True)).float(), rtol=1e-4, atol=1e-6
    )


def test_objects_in_another_order_are_masks_in_that_order(logits: torch.Tensor) -> None:
    turned = aggregate(logits[:, [2, 0, 1]])
    torch.testing.assert_close(turned, aggregate(logits)[:, [0, 3, 1, 2]])


def test_an_object_that_is_nowhere_changes_nothing(logits: torch.Tensor) -> None:
    nowhere = torch.full_like(logits[:, :1], -LIMIT)
    with_it = aggregate(torch.cat([logits, nowhere], dim=1))
    torch.testing.assert_close(with_it[:, :4], aggregate(logits), rtol=1e-3, atol=1e-5)


def test_a_clip_in_a_batch_gives_what_it_gives_alone(logits: torch.Tensor) -> None:
    torch.testing.assert_close(aggregate(logits)[1:], aggregate(logits[1:]))


@pytest.mark.parametrize("count", [1, 2, 9])
@pytest.mark.parametrize("value", [-1e4, -90.0, -LIMIT, 0.0, LIMIT, 90.0, 1e4])
def test_extreme_logits_stay_finite_and_so_do_their_gradients(count: int, value: float) -> None:
    logits = torch.full((1, count, 2, 2), value, requires_grad=True)
    masks = aggregate(logits)
    masks[:, 0].clamp(min=1e-7).log().sum().backward()
    assert masks.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_gradients_are_those_of_the_formula() -> None:
    logits = torch.linspace(-3, 3, 12).view(1, 3, 2, 2).requires_grad_()
    with torch.enable_grad():
        got = torch.autograd.grad(aggregate(logits)[:, 1].sum(), logits)[0]
    p = logits.sigmoid()
    every = torch.cat([(1 - p).prod(dim=1, keepdim=True), p], dim=1)
    odds = every / (1 - every)
    expected = torch.autograd.grad((odds / odds.sum(dim=1, keepdim=True))[:, 1].sum(), logits)[0]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_one_object_gives_masks_and_gradients_of_the_formula_for_several() -> None:
    logits = torch.linspace(-20, 20, 81).view(1, 1, 9, 9).requires_grad_()
    with torch.enable_grad():
        masks = aggregate(logits)
        limited = logits.double().clamp(-LIMIT, LIMIT)
        absent = -torch.nn.functional.softplus(limited)  # log(1 - p)
        background = absent - torch.log(-torch.expm1(absent))
        expected = torch.cat([background, limited], dim=1).softmax(dim=1)
        torch.testing.assert_close(masks, expected.float(), rtol=1e-5, atol=1e-7)
        for channel in (0, 1):
            loss, wanted = (
                -each[:, channel].clamp(min=1e-7).log().mean() for each in (masks, expected)
            )
            (slope,), (right,) = (
                torch.autograd.grad(each, logits, retain_graph=True) for each in (loss, wanted)
            )
            torch.testing.assert_close(slope, right, rtol=1e-4, atol=1e-8)


def test_16_bit_logits_become_32_bit_masks(logits: torch.Tensor) -> None:
    assert aggregate(logits.bfloat16()).dtype == torch.float32
