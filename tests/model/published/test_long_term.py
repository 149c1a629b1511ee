"""XMem's working and long-term memory."""

import math

import pytest
import torch
from torch import Tensor

from vostool.model.published.long_term import (
    Elements,
    LongTermMemory,
    LongTermOptions,
    Query,
    similarity,
)

H, W, C, V = 2, 3, 4, 5
POSITIONS = H * W
OPTIONS = LongTermOptions(top=0, frames=4, prototypes=5, elements=12)


def frame(seed: int) -> tuple[Query, Tensor]:
    """Return a random frame of two clips, and its values."""
    generator = torch.Generator().manual_seed(seed)
    key, selection = (torch.rand(2, C, H, W, generator=generator) for _ in range(2))
    shrinkage = 1 + torch.rand(2, 1, H, W, generator=generator)
    return Query(key, shrinkage, selection), torch.rand(2, V, H, W, generator=generator)


def filled(count: int, options: LongTermOptions = OPTIONS) -> LongTermMemory:
    """Return a memory of frames, each read before it was added."""
    memory = LongTermMemory(options)
    for seed in range(count):
        query, value = frame(seed)
        if seed:
            memory = memory.read(query)[1]
        memory = memory.add(query, value)
    return memory


def elements(memory: LongTermMemory) -> Elements:
    assert memory.elements is not None
    return memory.elements


def test_the_similarity_is_the_weighted_distance_times_the_shrinkage() -> None:
    memory, (query, value) = elements(filled(1)), frame(9)
    asked = Elements.of_frame(query, value)
    distance = (memory.key[:, None] - asked.key[:, :, None]).square()
    weighted = (distance * asked.selection[:, :, None]).sum(dim=3)
    expected = -memory.shrinkage[:, None, :, 0] * weighted / math.sqrt(C)
    found = similarity(memory, asked.key, asked.selection)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_readout_is_the_mean_weighted_by_the_softmax_of_the_similarity() -> None:
    memory, (query, value) = filled(3), frame(9)
    asked = Elements.of_frame(query, value)
    weights = similarity(elements(memory), asked.key, asked.selection).softmax(dim=2)
    expected = (weights @ elements(memory).value).transpose(1, 2).unflatten(2, (H, W))
    answer, _ = memory.read(query)
    torch.testing.assert_close(answer, expected)


def test_only_the_best_elements_are_read_and_used() -> None:
    query, _ = frame(9)
    options = LongTermOptions(top=2, frames=None)
    memory = filled(3, options)
    grown = elements(memory.read(query)[1]).use - elements(memory).use
    torch.testing.assert_close(grown.sum(dim=(1, 2)), torch.full((2,), float(POSITIONS)))
    assert ((grown > 0).sum(dim=(1, 2)) <= 2 * POSITIONS).all()


def test_a_full_working_memory_keeps_its_first_and_its_newest_frames() -> None:
    full, memory = filled(3), filled(4)
    assert (full.working, full.prototypes) == (3 * POSITIONS, 0)
    assert (memory.working, memory.prototypes) == (2 * POSITIONS, 5)
    kept = elements(memory).span(5, 5 + 2 * POSITIONS)
    for place, seed in ((0, 0), (POSITIONS, 3)):
        expected = Elements.of_frame(*frame(seed))
        assert torch.equal(kept.key[:, place : place + POSITIONS], expected.key)
        assert torch.equal(kept.value[:, place : place + POSITIONS], expected.value)


def test_prototypes_are_the_most_used_positions_with_the_mean_of_all_values() -> None:
    memory, before = filled(4), filled(3)
    candidates = elements(before.read(frame(3)[0])[1]).span(POSITIONS, 3 * POSITIONS)
    places = candidates.usage.topk(5, dim=1).indices
    chosen = candidates.gather(places)
    made = elements(memory).span(0, 5)
    assert torch.equal(made.key, chosen.key)
    weights = similarity(candidates, chosen.key, chosen.selection).softmax(dim=2)
    torch.testing.assert_close(made.value, weights @ candidates.value)
    torch.testing.assert_close(made.shrinkage, weights @ candidates.shrinkage)
    assert not made.use.any()
    assert not made.life.any()


def test_the_least_used_prototypes_are_forgotten_first() -> None:
    memories = [filled(count) for count in range(1, 12)]
    sizes = [memory.prototypes for memory in memories]
    assert sizes == [0, 0, 0, 5, 5, 10, 10, 12, 12, 12, 12]
    before = memories[6].read(frame(7)[0])[1]
    old = elements(before).span(0, 10)
    kept = elements(memories[7]).span(0, 7)
    for clip in range(2):
        expected = old.usage[clip].topk(7).indices.sort().values
        assert torch.equal(kept.key[clip], old.key[clip, expected])


def test_reading_and_adding_leave_a_memory_as_it_is() -> None:
    memory = filled(3)
    before = [values.clone() for values in elements(memory)]
    query, value = frame(3)
    memory.read(query)
    memory.add(query, value)
    assert all(torch.equal(*pair) for pair in zip(elements(memory), before, strict=True))


@pytest.mark.parametrize("frames", [2, 3, 10])
def test_a_working_memory_of_few_frames_is_consolidated_too(frames: int) -> None:
    memory = filled(12, LongTermOptions(frames=frames, prototypes=5, elements=12))
    assert memory.working < frames * POSITIONS
    assert memory.prototypes > 0


def test_an_empty_memory_cannot_be_read() -> None:
    with pytest.raises(ValueError, match="nothing is remembered"):
        LongTermMemory().read(frame(0)[0])
