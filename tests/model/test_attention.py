"""The blockwise read against the plain formula, which stores all similarities at once."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from vostool.model import attention
from vostool.model.attention import Similarities, attend, blocks
from vostool.model.memory import KernelMemory, MemoryOptions, StackedMemory

P, C, D, H, W = 2, 4, 5, 3, 4
LENGTHS = (12, 12, 12)  # positions of each remembered frame

DESIGNS: dict[str, Similarities] = {
    "stm": StackedMemory().similarities,
    "kmn": KernelMemory(MemoryOptions(sigma=1.5)).similarities,
    "kmn in training": KernelMemory(MemoryOptions(sigma=1.5, temperature=0.4)).similarities,
}


@pytest.fixture(params=DESIGNS)
def similarities(request: pytest.FixtureRequest) -> Similarities:
    return DESIGNS[request.param]


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Return a random query, and keys and values of some frames, all of which want gradients."""
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> Tensor:
        numbers = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return numbers.to(dtype).requires_grad_()

    keys, values = ([random(P, length, width) for length in LENGTHS] for width in (C, D))
    return random(P, C, H, W), keys, values


def plain(
    similarities: Similarities, query: Tensor, keys: list[Tensor], values: list[Tensor]
) -> Tensor:
    """Return softmax(K Q)^T V, all at once."""
    weights = similarities(torch.cat(keys, dim=1), query).softmax(dim=1)
    return weights.mT @ torch.cat(values, dim=1).to(weights.dtype)


# one position at a time; parts that don't divide a frame; a frame; two frames and one; all of one
# pair; all
BLOCKS = (1, 12, 5 * 12, 12 * 12, 25 * 12, 36 * 12, 10**6)


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_of_any_size_give_the_plain_formula(similarities: Similarities, block: int) -> None:
    query, keys, values = inputs()
    answer = attend(similarities, query, keys, values, block)
    torch.testing.assert_close(answer, plain(similarities, query, keys, values), rtol=1e-12, atol=0)


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_of_any_size_give_the_gradients_of_the_plain_formula(
    similarities: Similarities, block: int
) -> None:
    query, keys, values = inputs()
    direction = torch.randn(P, H * W, D, dtype=torch.float64)
    leaves = (query, *keys, *values)
    found, expected = (
        torch.autograd.grad((answer * direction).sum(), leaves)
        for answer in (
            attend(similarities, query, keys, values, block),
            plain(similarities, query, keys, values),
        )
    )
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_one_block_that_is_larger_than_the_cache_gives_the_plain_formula_too(
    similarities: Similarities, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, keys, values = inputs()
    expected = plain(similarities, query, keys, values)
    monkeypatch.setattr(attention, "CACHED", 0)
    answer = attend(similarities, query, keys, values, 10**6)
    torch.testing.assert_close(answer, expected, rtol=1e-12, atol=0)
    found, wanted = (torch.autograd.grad(each.square().sum(), keys) for each in (answer, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("block", [5 * 12, 10**6])
def test_gradients_are_those_of_finite_differences(similarities: Similarities, block: int) -> None:
    query, keys, values = inputs()

    def read(query: Tensor, *both: Tensor) -> Tensor:
        return attend(similarities, query, both[:3], both[3:], block)

    assert torch.autograd.gradcheck(read, (query, *keys, *values), fast_mode=True)


@pytest.mark.parametrize("wanted", ["query", "keys", "values"])
def test_a_gradient_of_one_input_alone_is_the_same(similarities: Similarities, wanted: str) -> None:
    query, keys, values = inputs()
    groups = {"query": [query], "keys": keys, "values": values}
    every = attend(similarities, query, keys, values, 60).square().sum()
    expected = torch.autograd.grad(every, groups[wanted])
    for name, group in groups.items():
        if name != wanted:
            groups[name] = [each.detach() for each in group]
    (query,) = groups["query"]
    alone = attend(similarities, query, groups["keys"], groups["values"], 60).square().sum()
    torch.testing.assert_close(torch.autograd.grad(alone, groups[wanted]), expected)


def test_no_more_similarities_are_computed_at_a_time_than_fit_a_block() -> None:
    sizes: list[int] = []

    def counted(keys: Tensor, query: Tensor) -> Tensor:
        found = StackedMemory().similarities(keys, query)
        sizes.append(found.numel())
        return found

    query, keys, values = inputs()
    attend(counted, query, keys, values, block=60).sum().backward()
    assert max(sizes) <= 60
    assert sum(sizes) == 2 * P * sum(LENGTHS) * H * W, "forward and backward"


def test_nothing_as_large_as_all_similarities_is_kept_for_the_backward_pass(
    similarities: Similarities,
) -> None:
    query, keys, values = inputs()
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        attend(similarities, query, keys, values, block=60)
    assert 0 < max(kept) <= P * 36 * max(C, D) < P * 36 * H * W


@pytest.mark.parametrize("scale", [1e-4, 1e2, 1e4])
def test_similarities_of_any_range_neither_overflow_nor_vanish(
    similarities: Similarities, scale: float
) -> None:
    query, keys, values = inputs(torch.float32)
    keys = [scale * key for key in keys]
    answer = attend(similarities, query, keys, values, 60)
    torch.testing.assert_close(
        answer, plain(similarities, query, keys, values), rtol=1e-3, atol=1e-3
    )
    assert all(each.isfinite().all() for each in torch.autograd.grad(answer.sum(), keys))


@pytest.mark.parametrize("ascending", [True, False])
def test_blocks_of_ever_larger_or_smaller_similarities_keep_their_share(ascending: bool) -> None:
    order = 1.0 if ascending else -1.0
    keys = [torch.full((1, 1, 1), order * 50 * number) for number in range(4)]
    values = [torch.full((1, 1, 1), float(number)) for number in range(4)]
    query = torch.full((1, 1, 1, 1), 0.01)
    weights = torch.tensor([order * 0.5 * number for number in range(4)]).softmax(dim=0)
    answer = attend(StackedMemory().similarities, query, keys, values, block=1)
    assert answer.item() == pytest.approx(float((weights * torch.arange(4)).sum()), rel=1e-6)


def test_no_weight_is_a_subnormal_number_with_which_a_cpu_is_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[Tensor] = []

    def add_product(answer: Tensor, weights: Tensor, *others: Tensor) -> None:
        found.append(weights.clone())

    monkeypatch.setattr(attention, "add_product", add_product)
    query, keys, values = (torch.ones(1, 1, 1, 1), torch.linspace(0, -120, 400), torch.ones(400, 1))
    logits = keys.view(1, -1, 1)  # down to where float32 has nothing but 0 left
    attend(StackedMemory().similarities, query, [logits], [values[None]], block=200)
    weights = torch.cat(found)
    assert float(weights.min()) >= torch.finfo(torch.float32).tiny
    torch.testing.assert_close(weights.flatten(), keys.exp(), rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("block", [1, 12 * 12, 10**6])
def test_positions_whose_similarity_is_minus_infinity_count_nothing(block: int) -> None:
    query, keys, values = inputs()

    def masked(keys: Tensor, query: Tensor) -> Tensor:
        hidden = keys[..., :1] == 0  # (P, m, 1)
        return StackedMemory().similarities(keys, query).masked_fill(hidden, -torch.inf)

    hidden, *shown = keys
    answer = attend(masked, query, [hidden * 0, *shown], values, block)
    expected = plain(StackedMemory().similarities, query, shown, values[1:])
    torch.testing.assert_close(answer, expected, rtol=1e-12, atol=1e-15)
    found, wanted = (torch.autograd.grad(each.square().sum(), shown) for each in (answer, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("block", [60, 10**6])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_values_of_16_bits_are_weighted_by_exact_similarities(
    similarities: Similarities, dtype: torch.dtype, block: int
) -> None:
    query, keys, values = inputs(torch.float32)
    exact = plain(similarities, query, keys, values)
    short = [value.detach().to(dtype).requires_grad_() for value in values]
    answer = attend(similarities, query, keys, short, block)
    assert answer.dtype == dtype
    torch.testing.assert_close(answer.float(), exact, rtol=0.03, atol=0.03)
    found = torch.autograd.grad(answer.float().square().sum(), (query, *keys, *short))
    expected = torch.autograd.grad(exact.square().sum(), (query, *keys, *values))
    for one, other in zip(found, expected, strict=True):
        scale = other.abs().max().item()
        torch.testing.assert_close(one.float(), other, rtol=0.03, atol=0.03 * scale)


def test_gradients_in_autocast_are_not_rounded_further() -> None:
    query, keys, values = inputs(torch.float32)
    expected = torch.autograd.grad(
        attend(StackedMemory().similarities, query, keys, values, 60).square().sum(), keys
    )
    answer = attend(StackedMemory().similarities, query, keys, values, 60).square().sum()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = torch.autograd.grad(answer, keys)
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def test_a_mean_of_many_values_does_not_overflow_fp16() -> None:
    keys, values = [torch.zeros(1, 3000, 1)], [torch.full((1, 3000, 1), 100.0).half()]
    answer = attend(StackedMemory().similarities, torch.zeros(1, 1, 1, 1), keys, values, 1000)
    assert answer.item() == pytest.approx(100, rel=1e-2)


@pytest.mark.parametrize("rows", [1, 4, 5, 7, 11, 12, 13, 24, 35, 36, 100])
def test_blocks_hold_every_position_once_in_order_and_no_more_than_asked(rows: int) -> None:
    positions = torch.arange(36.0).view(1, 36, 1)
    found = blocks(positions.split(12, dim=1), rows)
    assert torch.equal(torch.cat(found, dim=1), positions)
    lengths = [block.shape[1] for block in found]
    assert max(lengths) <= rows
    assert rows < 24 or all(one + other > rows for one, other in pairwise(lengths))
