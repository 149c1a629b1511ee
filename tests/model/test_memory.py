import math

import pytest
import torch
from torch import Tensor

from vostool.model.context_memory import ContextMemory
from vostool.model.memory import (
    FrameMemory,
    KernelMemory,
    MemoryOptions,
    Similarity,
    StackedMemory,
    argmax_of_rows,
    comparable_query,
)
from vostool.model.memory_designs import MEMORIES, memory_design

B, G, H, W, C, D = 2, 3, 2, 3, 4, 5


def frame(seed: int, annotated: bool = False) -> tuple[Tensor, Tensor, bool]:
    """Return key and value of a random frame, and whether its masks are the truth."""
    generator = torch.Generator().manual_seed(seed)
    key, value = (torch.randn(B, G, width, H, W, generator=generator) for width in (C, D))
    return key, value, annotated


@pytest.fixture
def query() -> Tensor:
    return torch.randn(B, G, C, H, W, generator=torch.Generator().manual_seed(99))


OPTIONS = {
    "stm": MemoryOptions(),
    "kmn": MemoryOptions(sigma=1, temperature=0.5),
    "gcm": MemoryOptions(),
}


@pytest.fixture(params=OPTIONS)
def memory(request: pytest.FixtureRequest) -> FrameMemory:
    """An empty memory of each design."""
    return memory_design(request.param)(OPTIONS[request.param])


class TestEveryMemory:
    def test_is_left_alone_by_adding(self, memory: FrameMemory, query: Tensor) -> None:
        one = memory.add(*frame(0))
        before = one.read(query)
        one.add(*frame(1))
        assert torch.equal(one.read(query), before)

    def test_grows_into_two_without_mixing_them(self, memory: FrameMemory, query: Tensor) -> None:
        bank = memory.add(*frame(0))
        left, right = bank.add(*frame(1)), bank.add(*frame(2))
        assert not torch.equal(left.read(query), right.read(query))
        assert torch.equal(left.read(query), bank.add(*frame(1)).read(query))

    def test_does_not_mind_the_order_of_its_frames(
        self, memory: FrameMemory, query: Tensor
    ) -> None:
        there = memory.add(*frame(0)).add(*frame(1)).add(*frame(2))
        back = memory.add(*frame(2)).add(*frame(1)).add(*frame(0))
        torch.testing.assert_close(there.read(query), back.read(query))

    def test_answers_from_the_clip_and_the_object_that_ask(
        self, memory: FrameMemory, query: Tensor
    ) -> None:
        whole = memory.add(*frame(0)).add(*frame(1)).read(query)
        part = memory
        for key, value, _ in (frame(0), frame(1)):
            part = part.add(key[1:, 2:], value[1:, 2:], False)
        torch.testing.assert_close(whole[1:, 2:], part.read(query[1:, 2:]))

    def test_lets_gradients_through(self, memory: FrameMemory, query: Tensor) -> None:
        key, value = (tensor.requires_grad_() for tensor in frame(0)[:2])
        memory.add(key, value, True).add(*frame(1)).read(query).square().sum().backward()
        for tensor in (key, value):
            assert tensor.grad is not None
            assert tensor.grad.abs().amax(dim=(2, 3, 4)).gt(0).all()

    def test_answers_in_half_precision_what_it_does_in_full(
        self, memory: FrameMemory, query: Tensor
    ) -> None:
        exact, rounded = memory, memory
        for key, value, _ in (frame(0), frame(1)):
            # keys that both can tell, as the question is not how numbers are rounded
            key = key.bfloat16()
            exact = exact.add(key.float(), value, False)
            rounded = rounded.add(key, value.bfloat16(), False)
        asked = query.bfloat16()
        answer = rounded.read(asked)
        assert answer.dtype == torch.bfloat16
        torch.testing.assert_close(answer.float(), exact.read(asked.float()), rtol=0.02, atol=0.02)

    def test_has_a_size_that_is_documented(self, memory: FrameMemory) -> None:
        assert [size(memory.add(*frame(0))), size(two := memory.add(*frame(0)).add(*frame(1)))] == (
            [C * D, C * D]
            if isinstance(memory, ContextMemory)
            else [H * W * (C + D), 2 * H * W * (C + D)]
        )
        assert two is not memory

    def test_is_in_the_table(self) -> None:
        assert set(OPTIONS) == set(MEMORIES)


def size(memory: FrameMemory) -> int:
    """Return how many numbers a memory holds of each group of each clip."""
    if isinstance(memory, ContextMemory):
        assert memory.context is not None
        return memory.context.numel() // (B * G)
    assert isinstance(memory, StackedMemory)
    return sum(each.numel() for each in (*memory.keys, *memory.values)) // (B * G)


class TestStackedMemory:
    @pytest.mark.parametrize("similarity", ["dot", "l2"])
    def test_reads_the_mean_of_values_weighted_by_the_softmax_of_similarity(
        self, query: Tensor, similarity: Similarity
    ) -> None:
        frames = [frame(seed) for seed in range(3)]
        memory = StackedMemory(MemoryOptions(similarity))
        for key, value, _ in frames:
            memory = memory.add(key, value, False)
        answer = memory.read(query)
        for b, g, y, x in [(0, 0, 0, 0), (1, 2, 1, 2), (0, 1, 1, 0)]:
            asked = query[b, g, :, y, x]
            keys = torch.cat([key[b, g].flatten(1).T for key, _, _ in frames])  # (T P, C)
            values = torch.cat([value[b, g].flatten(1).T for _, value, _ in frames])
            affinity = keys @ asked if similarity == "dot" else -(keys - asked).square().sum(dim=1)
            weights = torch.exp(affinity / C**0.5)
            expected = (weights[:, None] * values).sum(dim=0) / weights.sum()
            torch.testing.assert_close(answer[b, g, :, y, x], expected)

    @pytest.mark.parametrize("design", [StackedMemory, KernelMemory])
    def test_counts_positions_of_annotated_frames_so_many_times(
        self, query: Tensor, design: type[StackedMemory]
    ) -> None:
        weighted, repeated = (
            design(MemoryOptions("l2", annotated_weight=weight)) for weight in (3.0, 1.0)
        )
        true, predicted = frame(0, True), frame(1, False)
        for entry in (true, predicted):
            weighted = weighted.add(*entry)
        for entry in (true, true, true, predicted):
            repeated = repeated.add(*entry)
        torch.testing.assert_close(weighted.read(query), repeated.read(query))

    def test_a_frame_alone_is_read_alike_whatever_its_weight(self, query: Tensor) -> None:
        plain, weighted = (
            StackedMemory(MemoryOptions("l2", annotated_weight=weight)).add(*frame(0, True))
            for weight in (1.0, 5.0)
        )
        torch.testing.assert_close(weighted.read(query), plain.read(query))

    def test_answers_all_objects_that_share_a_key(self, query: Tensor) -> None:
        key, value, _ = frame(0)
        memory = StackedMemory().add(key, value, True)
        asked = query[:, :1]
        torch.testing.assert_close(memory.read(asked), memory.read(asked.expand(-1, G, -1, -1, -1)))

    def test_a_clear_match_brings_its_value(self) -> None:
        key = 60 * torch.eye(C).view(1, 1, C, 2, 2)
        value = torch.arange(4.0 * D).view(1, 1, D, 2, 2)
        answer = StackedMemory().add(key, value, True).read(key.flip(4))
        torch.testing.assert_close(answer, value.flip(4))

    def test_similarities_are_exact_where_values_have_16_bits(self, query: Tensor) -> None:
        key, value, _ = frame(0)
        exact = StackedMemory().add(40 * key, value, True).read(query)
        memory = StackedMemory().add(40 * key, value.bfloat16(), True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            read = StackedMemory().reader(40 * key, query)
            answers = memory.read(query), read(value.bfloat16())
        for answer in answers:
            assert answer.dtype == torch.bfloat16
            # bf16 keeps 8 bits of a value; similarities of up to 100 would be off by one half
            torch.testing.assert_close(answer.float(), exact, rtol=0.02, atol=0.02)

    @pytest.mark.parametrize("design", [StackedMemory, KernelMemory])
    @pytest.mark.parametrize("similarity", ["dot", "l2"])
    def test_reads_the_best_positions_alone_if_asked(
        self, query: Tensor, design: type[StackedMemory], similarity: Similarity
    ) -> None:
        memory = design(MemoryOptions(similarity, top=4, sigma=2))
        for seed in range(3):
            memory = memory.add(*frame(seed))
        keys, values = torch.cat(memory.keys, dim=2), torch.cat(memory.values, dim=2)
        asked = comparable_query(query, similarity).flatten(0, 1)
        affinity = memory.similarities(keys.flatten(0, 1), asked).mT.unflatten(0, (B, G))
        fourth = affinity.sort(dim=3, descending=True).values[..., 3:4]
        weights = affinity.masked_fill(affinity < fourth, -math.inf).softmax(dim=3)
        expected = (weights @ values).transpose(2, 3).unflatten(3, (H, W))
        torch.testing.assert_close(memory.read(query), expected)

    def test_reads_all_where_that_is_no_more_than_the_best(self, query: Tensor) -> None:
        every, best = (
            StackedMemory(MemoryOptions(top=top)).add(*frame(0)).add(*frame(1))
            for top in (0, 2 * H * W)
        )
        assert torch.equal(best.read(query), every.read(query))

    def test_reads_the_whole_of_a_frame_alone(self, query: Tensor) -> None:
        every, best = (StackedMemory(MemoryOptions(top=top)).add(*frame(0)) for top in (0, 1))
        assert torch.equal(best.read(query), every.read(query))

    def test_reads_the_best_of_a_frame_alone_where_the_design_asks_for_that(
        self, query: Tensor
    ) -> None:
        alone = StackedMemory(MemoryOptions(top=1, top_alone=True)).add(*frame(0))
        both = StackedMemory(MemoryOptions(top=1)).add(*frame(0)).add(*frame(0))
        torch.testing.assert_close(alone.read(query), both.read(query))

    def test_reads_the_best_in_16_bits_too(self, query: Tensor) -> None:
        options = MemoryOptions(top=3)
        exact = StackedMemory(options).add(*frame(0)).add(*frame(1)).read(query)
        memory = StackedMemory(options)
        for key, value, _ in (frame(0), frame(1)):
            memory = memory.add(key, value.bfloat16(), False)
        answer = memory.read(query)
        assert answer.dtype == torch.bfloat16
        torch.testing.assert_close(answer.float(), exact, rtol=0.02, atol=0.02)

    def kept(self, memory: StackedMemory, count: int, truths: set[int]) -> list[int]:
        """Add frames and return the numbers of those that are left."""
        frames = [frame(seed, seed in truths) for seed in range(count)]
        for entry in frames:
            memory = memory.add(*entry)
        numbers = [
            seed
            for keys in memory.keys
            for seed, (key, _, _) in enumerate(frames)
            if torch.equal(keys, key.flatten(3).transpose(2, 3))
        ]
        assert len(numbers) == len(memory.keys) == len(memory.values) == len(memory.annotated)
        return numbers

    @pytest.mark.parametrize("capacity", [2, 3, 5])
    def test_keeps_the_annotated_first_frame_and_the_latest(self, capacity: int) -> None:
        memory = StackedMemory(MemoryOptions(capacity=capacity))
        assert self.kept(memory, 8, {0}) == [0, *range(9 - capacity, 8)]

    def test_keeps_every_annotated_frame_as_long_as_there_is_room(self) -> None:
        assert self.kept(StackedMemory(MemoryOptions(capacity=4)), 10, {0, 3, 4}) == [0, 3, 4, 9]

    def test_forgets_annotated_frames_too_once_there_are_no_others_but_never_the_first(
        self,
    ) -> None:
        assert self.kept(StackedMemory(MemoryOptions(capacity=3)), 6, set(range(6))) == [0, 4, 5]

    def test_keeps_all_without_a_capacity(self) -> None:
        assert self.kept(StackedMemory(), 20, {0}) == list(range(20))

    def test_at_capacity_is_still_left_alone_by_adding(self, query: Tensor) -> None:
        full = StackedMemory(MemoryOptions(capacity=2)).add(*frame(0)).add(*frame(1))
        before = full.read(query)
        full.add(*frame(2))
        assert torch.equal(full.read(query), before)


def written_out(key: Tensor, query: Tensor, sigma: float, similarity: Similarity) -> Tensor:
    """Return the weights of KMN for one frame of one clip and group, position by position."""
    keys, asked = key[0, 0].flatten(1).T, query[0, 0].flatten(1).T  # (P, C)
    places = [(y, x) for y in range(H) for x in range(W)]
    weights = torch.zeros(len(asked), len(keys))
    for p, one in enumerate(keys):
        if similarity == "dot":
            affinity = asked @ one / C**0.5
        else:
            affinity = -(asked - one).square().sum(dim=1) / C**0.5
        best = places[int(affinity.argmax())]
        for q, place in enumerate(places):
            apart = (place[0] - best[0]) ** 2 + (place[1] - best[1]) ** 2
            weights[q, p] = affinity[q].exp() * math.exp(-apart / (2 * sigma**2))
    return weights / weights.sum(dim=1, keepdim=True)


class TestKernelMemory:
    @pytest.mark.parametrize("similarity", ["dot", "l2"])
    def test_weighs_by_similarity_and_by_the_distance_from_the_best_match(
        self, query: Tensor, similarity: Similarity
    ) -> None:
        key, value, _ = frame(0)
        answer = (
            KernelMemory(MemoryOptions(similarity, sigma=0.8)).add(key, value, True).read(query)
        )
        weights = written_out(key, query, 0.8, similarity)
        expected = weights @ value[0, 0].flatten(1).T  # (P, D)
        torch.testing.assert_close(answer[0, 0].flatten(1).T, expected)

    @pytest.mark.parametrize("temperature", [None, 0.1])
    def test_with_an_endless_kernel_is_stm(self, query: Tensor, temperature: float | None) -> None:
        wide = KernelMemory(MemoryOptions(sigma=1e6, temperature=temperature))
        plain = StackedMemory()
        for number in range(3):
            wide, plain = wide.add(*frame(number)), plain.add(*frame(number))
        torch.testing.assert_close(wide.read(query), plain.read(query))

    def test_finds_the_argmax_softly_at_a_low_temperature(self, query: Tensor) -> None:
        soft, hard = (
            KernelMemory(MemoryOptions(sigma=1, temperature=temperature)).add(*frame(0))
            for temperature in (1e-3, None)
        )
        torch.testing.assert_close(soft.read(query), hard.read(query))

    def test_lets_gradients_find_the_best_match_only_softly(self) -> None:
        places = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
        for temperature in (None, 0.5):
            affinity = torch.tensor([[[0.2, 0.4]]], requires_grad=True)
            memory = KernelMemory(MemoryOptions(temperature=temperature))
            best = memory.best_match(affinity, places)
            assert best.requires_grad == (temperature is not None)

    def test_keeps_an_object_apart_from_its_double(self) -> None:
        """Two places look alike; only near the first is the object."""
        key = torch.zeros(1, 1, 2, 1, 12)
        key[:, :, 0, 0, 2] = key[:, :, 0, 0, 9] = 9.0
        key[:, :, 1, 0, 2], key[:, :, 1, 0, 9] = 0.5, -0.5  # what tells them apart, a little
        value = torch.zeros(1, 1, 1, 1, 12)
        value[..., 2] = 1.0
        query = key.clone()
        plain = StackedMemory().add(key, value, True).read(query)[0, 0, 0, 0]
        near = KernelMemory(MemoryOptions(sigma=1)).add(key, value, True).read(query)[0, 0, 0, 0]
        assert plain[9] > 0.4
        assert near[9] < 0.01
        assert near[2] > 0.9


class TestContextMemory:
    def test_is_the_mean_of_the_contexts_of_its_frames(self, query: Tensor) -> None:
        memory = ContextMemory()
        contexts = []
        for number in range(4):
            key, value, annotated = frame(number)
            memory = memory.add(key, value, annotated)
            weights = key.flatten(3).softmax(dim=3)  # over the frame
            contexts.append(torch.einsum("bgcp,bgdp->bgcd", weights, value.flatten(3)))
        mean = torch.stack(contexts).mean(dim=0)
        assert memory.context is not None
        torch.testing.assert_close(memory.context, mean)
        expected = torch.einsum("bgcp,bgcd->bgdp", query.softmax(dim=2).flatten(3), mean)
        torch.testing.assert_close(memory.read(query).flatten(3), expected)

    def test_keeps_its_mean_in_float32_under_autocast(self, query: Tensor) -> None:
        memory = half = ContextMemory()
        for number in range(4):
            memory = memory.add(*frame(number))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                half = half.add(*frame(number))
                answer = half.read(query)
        assert memory.context is not None
        assert half.context is not None
        assert torch.equal(half.context, memory.context)
        assert torch.equal(answer, memory.read(query))

    def test_knows_nothing_before_its_first_frame(self, query: Tensor) -> None:
        with pytest.raises(ValueError, match="nothing is remembered"):
            ContextMemory().read(query)


def test_the_argmax_of_rows_is_the_first_of_equal_ones_as_on_a_gpu() -> None:
    table = torch.randint(0, 4, (2, 50, 9), generator=torch.Generator().manual_seed(1)).float()
    places = argmax_of_rows(table.requires_grad_())
    assert torch.equal(places, table.argmax(dim=2))
    assert torch.equal(places, (table == table.amax(dim=2, keepdim=True)).int().argmax(dim=2))
