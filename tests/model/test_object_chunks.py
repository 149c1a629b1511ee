"""A model in chunks gives what it gives without, and never sees more objects than it may."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import TINY
from vostool.model.check import check_segmenter
from vostool.model.interface import Reference
from vostool.model.object_chunks import InChunks
from vostool.model.stm import Stm
from vostool.propagation.correction import Goal, GradientCorrection
from vostool.propagation.frame_loop import propagate
from vostool.propagation.frames import Annotation, Prediction
from vostool.propagation.references import References

HEIGHT, WIDTH = 48, 64


@dataclass
class Counting:
    """Counts the objects that a model is given at a time."""

    network: Stm
    stride: int = 16
    counts: list[int] = field(default_factory=list)

    def encode(self, image: Tensor) -> Any:
        return self.network.encode(image)

    def memorize(
        self, features: Any, masks: Tensor, memory: Any = None, annotated: bool = False
    ) -> Any:
        self.counts.append(masks.shape[1] - 1)
        return self.network.memorize(features, masks, memory, annotated)

    def segment(self, features: Any, memory: Any) -> Tensor:
        logits = self.network.segment(features, memory)
        self.counts.append(logits.shape[1])
        return logits


@pytest.fixture(params=["own", "shared"])
def model(request: pytest.FixtureRequest) -> Stm:
    torch.manual_seed(0)
    return Stm(TINY.model_copy(update={"keys": request.param})).eval().requires_grad_(False)


def stripes(ids: tuple[int, ...], top: int = 0) -> Annotation:
    """Return an annotation of objects below one another, 8 rows each."""
    objects = torch.zeros(1, len(ids), HEIGHT, WIDTH)
    for channel in range(len(ids)):
        objects[:, channel, top + 8 * channel : top + 8 * channel + 8] = 1
    return Annotation(ids, objects)


def images(count: int) -> Tensor:
    return torch.rand(count, 1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def follow(segmenter: Any, correction: GradientCorrection | None = None) -> list[Prediction[Any]]:
    """Follow four objects and, from frame 3, one more."""
    annotations = {0: stripes((9, 2, 7, 4)), 3: stripes((1,), 40)}
    loop = propagate(images(6), annotations, segmenter, References(every=2), correction)
    return list(loop)


@pytest.mark.parametrize("most", [1, 2, 3, 4, 30])
def test_the_masks_are_those_of_all_objects_at_once(most: int, model: Stm) -> None:
    counting = Counting(model)
    for prediction, whole in zip(follow(InChunks(counting, most)), follow(model), strict=True):
        assert prediction.ids == whole.ids
        torch.testing.assert_close(prediction.masks, whole.masks, atol=1e-5, rtol=1e-4)
    assert max(counting.counts) <= most
    assert len(set(follow(model)[-1].masks.argmax(dim=1).unique().tolist())) > 1


def test_without_a_limit_objects_go_together(model: Stm) -> None:
    counting = Counting(model)
    follow(InChunks(counting, None))
    assert set(counting.counts) == {4, 1}


def test_chunks_are_of_like_size(model: Stm) -> None:
    counting = Counting(model)
    masks = torch.rand(1, 6, HEIGHT, WIDTH).softmax(dim=1)
    InChunks(counting, 4).memorize(model.encode(images(1)[0]), masks)
    assert counting.counts == [3, 2]


def test_each_chunk_gets_the_background_of_all(model: Stm) -> None:
    given = []

    class Taking(Counting):
        def memorize(
            self, features: Any, masks: Tensor, memory: Any = None, annotated: bool = False
        ) -> Any:
            given.append(masks)
            return super().memorize(features, masks, memory, annotated)

    masks = torch.rand(1, 4, HEIGHT, WIDTH).softmax(dim=1)
    InChunks(Taking(model), 2).memorize(model.encode(images(1)[0]), masks)
    assert torch.equal(given[0], masks[:, [0, 1, 2]])
    assert torch.equal(given[1], masks[:, [0, 3]])


class TestTheCorrection:
    def test_is_the_same(self, model: Stm) -> None:
        correction = GradientCorrection(every=2, steps=2, rate=1000.0)
        whole = follow(model, correction)
        for prediction, expected in zip(follow(InChunks(model, 2), correction), whole, strict=True):
            torch.testing.assert_close(prediction.masks, expected.masks, atol=1e-4, rtol=1e-3)
        assert any(
            prediction.uncorrected is not None
            and (prediction.masks != prediction.uncorrected).any()
            for prediction in whole
        )

    def test_keeps_less_for_the_way_back(self, model: Stm) -> None:
        features = model.encode(images(1)[0])
        truth = stripes((1, 2, 3, 4))
        goal = Goal((0, 1, 2, 3, 4), Reference(features, truth.masks(truth.ids)))
        kept = {}
        for most in (1, 4):
            sizes: list[int] = []

            def pack(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
                sizes.append(tensor.numel())
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                correction = GradientCorrection(steps=1)
                correction(InChunks(model, most), features, goal.reference.masks, [goal])
            kept[most] = sum(sizes)
        assert kept[1] < 0.5 * kept[4]


def test_the_contract_is_kept(model: Stm) -> None:
    check_segmenter(InChunks(model, 1))


@pytest.mark.parametrize("most", [1, 2, None])
def test_a_match_that_is_prepared_is_the_same_in_chunks(most: int | None, model: Stm) -> None:
    features, query = (model.encode(image) for image in images(2))
    masks = torch.rand(1, 6, HEIGHT, WIDTH).softmax(dim=1).requires_grad_()
    expected = model.segment(query, model.memorize(features, masks))
    found = InChunks(model, most).prepare_match(features, query)(masks)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    (gradient,) = torch.autograd.grad(found.sum(), masks)
    assert gradient.abs().amax(dim=(0, 2, 3))[1:].gt(0).all()
