"""The contract checker notices each way in which a model may break the contract."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.conftest import ColourMemory, ColourSegmenter
from vostool.errors import ContractError
from vostool.model.check import check_segmenter
from vostool.model.stm import Stm


class Whole(ColourSegmenter):
    """Of a stride that makes frames large enough to tell anything."""

    stride = 16


def test_models_that_keep_the_contract_pass(network: Stm) -> None:
    check_segmenter(Whole())
    check_segmenter(network)


class Cut(Whole):
    def segment(self, features: Tensor, memory: ColourMemory) -> Tensor:
        return super().segment(features, memory).detach()


class Blind(Whole):
    def segment(self, features: Tensor, memory: ColourMemory) -> Tensor:
        return 0 * super().segment(features, memory) + features.mean(dim=1, keepdim=True)


class Small(Whole):
    def segment(self, features: Tensor, memory: ColourMemory) -> Tensor:
        return super().segment(features, memory)[..., ::2, ::2]


class Half(Whole):
    def segment(self, features: Tensor, memory: ColourMemory) -> Tensor:
        return super().segment(features, memory).half()


class Endless(Whole):
    def segment(self, features: Tensor, memory: ColourMemory) -> Tensor:
        return super().segment(features, memory) / 0


class Moody(Whole):
    times = 0

    def segment(self, features: Tensor, memory: ColourMemory) -> Tensor:
        self.times += 1
        return self.times * super().segment(features, memory)


class Greedy(Whole):
    kept: Tensor | None = None

    def memorize(
        self,
        features: Tensor,
        masks: Tensor,
        memory: ColourMemory | None = None,
        annotated: bool = False,
    ) -> ColourMemory:
        new = super().memorize(features, masks)
        if memory is None:
            return new
        memory[0].add_(new[0].detach())
        return memory


class Crowded(Whole):
    def segment(self, features: Tensor, memory: ColourMemory) -> Tensor:
        return super().segment(features, memory) + features.sum() / 1000


class Hasty(Whole):
    def prepare_match(self, features: Tensor, query: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda masks: self.segment(features, self.memorize(features, masks))


class Severed(Whole):
    def prepare_match(self, features: Tensor, query: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda masks: self.segment(query, self.memorize(features, masks.detach()))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Cut, "no gradient from the logits to the masks"),
        (Blind, "gradient of the masks that is 0 everywhere"),
        (Small, "logits (2, 2, 32, 48), not (2, 2, 64, 96)"),
        (Half, "logits of torch.float16, not float32"),
        (Endless, "logits that are not finite"),
        (Moody, "the model keeps a state"),
        (Greedy, "memorize changed the memory"),
        (Crowded, "for a clip alone"),
        (Hasty, "other logits from a match that is prepared"),
        (Severed, "no gradient through a match that is prepared"),
    ],
)
def test_what_is_broken_is_told(model: type[Whole], words: str) -> None:
    with pytest.raises(ContractError) as refusal:
        check_segmenter(model())
    assert words in str(refusal.value)


def test_nothing_is_changed_by_the_check() -> None:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 1, 3, 64, 64, generator=generator)
    masks = torch.rand(1, 2, 64, 64, generator=generator).softmax(dim=1)
    before = images.clone(), masks.clone()
    check_segmenter(Whole(), images, masks)
    assert torch.equal(images, before[0])
    assert torch.equal(masks, before[1])
