import copy
import itertools
from typing import Literal, get_args

import pytest
import torch
import torchvision
from torch import Tensor

from tests.conftest import TINY, Scene, scene
from vostool.model.interface import Reference
from vostool.model.memory import StackedMemory
from vostool.model.memory_designs import MEMORIES
from vostool.model.stm import Stm, StmMemory
from vostool.model.stm_settings import StmSettings
from vostool.propagation.cycle import cycle_loss
from vostool.propagation.frame_loop import propagate
from vostool.propagation.frames import Annotation
from vostool.propagation.losses import mask_loss
from vostool.propagation.references import References

Own = Literal["own", "shared"]
Similarity = Literal["dot", "l2"]


def variant(
    keys: Own, values: Own, similarity: Similarity, memory: str, *parts: str
) -> StmSettings:
    """Return settings of a network, whose optional `parts` are "half" and "located"."""
    changes = {
        "keys": keys,
        "values": values,
        "similarity": similarity,
        "memory": memory,
        "output_stride": 2 if "half" in parts else 4,
        "location_cue": "located" in parts,
    }
    return TINY.model_copy(update=changes)


def test_skip_blocks_refine_what_the_decoder_gets_of_the_frame(clip: Scene) -> None:
    plain, refined = (
        build(TINY.model_copy(update={"skip_blocks": wanted})) for wanted in (False, True)
    )
    names = {name for name, _ in refined.named_parameters()}
    assert {f"decoder.skip_{size}.1.conv1.weight" for size in ("eighth", "quarter")} <= names
    assert not any("skip_eighth.1" in name for name, _ in plain.named_parameters())
    skip = refined.encode(clip.images[0]).skips[0]
    with torch.no_grad():
        refined.decoder.get_parameter("skip_eighth.1.conv2.weight").zero_()
    assert not torch.equal(refined.encode(clip.images[0]).skips[0], skip)


def test_the_memory_encoder_can_be_shown_the_other_objects(clip: Scene) -> None:
    network = build(TINY.model_copy(update={"second_mask_channel": "others"})).requires_grad_(False)
    features = network.encode(clip.images[0])
    own = clip.masks[0][:, 1:]
    elsewhere = (1 - own) * 0.5
    alone = torch.cat([1 - own, own], dim=1)
    crowded = torch.cat([1 - own - elsewhere, own], dim=1)  # the other object is not a channel
    one, other = (network.remembered(features, masks)[1] for masks in (alone, crowded))
    assert not torch.allclose(one, other, atol=1e-3)
    blind = build(TINY).requires_grad_(False)
    features = blind.encode(clip.images[0])
    one, other = (blind.remembered(features, masks)[1] for masks in (alone, crowded))
    assert torch.equal(one, other)


@pytest.mark.parametrize("size", [(33, 50), (47, 64)])
def test_frames_need_not_be_multiples_of_the_stride(size: tuple[int, int]) -> None:
    network = build(TINY.model_copy(update={"output_stride": 4})).requires_grad_(False)
    image, masks = torch.rand(2, 3, *size), torch.rand(2, 3, *size).softmax(dim=1)
    features = network.encode(image)
    logits = network.segment(features, network.memorize(features, masks))
    assert logits.shape == (2, 2, *size)


def build(settings: StmSettings) -> Stm:
    """Return a network as it may be after training: no part of it is without effect."""
    torch.manual_seed(0)
    network = Stm(settings)
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter.data, std=0.1)
    return network


@pytest.fixture(
    scope="module",
    params=[
        *((keys, "own", like, "stm") for keys in get_args(Own) for like in get_args(Similarity)),
        *((keys, "shared", "l2", "stm") for keys in get_args(Own)),
        *(("shared", "shared", "l2", design) for design in MEMORIES if design != "stm"),
        *(("own", "own", "dot", design) for design in MEMORIES if design != "stm"),
        ("own", "own", "dot", "stm", "half", "located"),
        ("shared", "shared", "l2", "kmn", "half"),
        ("shared", "shared", "l2", "kmn", "located"),
    ],
    ids="-".join,
)
def any_network(request: pytest.FixtureRequest) -> Stm:
    return build(variant(*request.param)).eval()


def random_masks(batch: int, count: int, height: int = 32, width: int = 48) -> Tensor:
    """Return soft masks of several objects, (B, N + 1, H, W)."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(batch, count + 1, height, width, generator=generator).softmax(dim=1)


def random_images(count: int, batch: int, height: int = 32, width: int = 48) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.rand(count, batch, 3, height, width, generator=generator)


@pytest.mark.parametrize("kept", [True, False])
def test_a_match_that_is_prepared_is_a_frame_memorised_and_segmented(
    any_network: Stm, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kept:
        monkeypatch.setattr("vostool.model.memory.KEPT", 0)
    with torch.no_grad():
        features, query = (any_network.encode(image) for image in random_images(2, 2))
        logits_of = any_network.prepare_match(features, query)
    for count in (3, 1):
        masks = random_masks(2, count).requires_grad_()
        found = logits_of(masks)
        expected = any_network.segment(query, any_network.memorize(features, masks))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        direction = torch.randn_like(expected)
        gradients = [
            torch.autograd.grad((logits * direction).sum(), masks)[0]
            for logits in (found, expected)
        ]
        torch.testing.assert_close(
            *gradients, rtol=1e-3, atol=1e-3 * gradients[1].abs().max().item()
        )
        assert gradients[1].abs().max() > 0


def test_the_response_to_masks_is_the_same_with_and_without_a_gradient() -> None:
    network = build(variant("shared", "shared", "l2", "stm")).requires_grad_(False)
    masks = random_masks(3, 1).requires_grad_()
    found, expected = network.mask_response(masks), network.mask_stem(masks)
    torch.testing.assert_close(found, expected)
    assert torch.equal(network.mask_response(masks.detach()), expected)
    direction = torch.randn_like(expected)
    gradients = [torch.autograd.grad((each * direction).sum(), masks) for each in (found, expected)]
    torch.testing.assert_close(*gradients)


@torch.no_grad()
def follow(network: Stm, images: Tensor, objects: Tensor) -> Tensor:
    """Return the masks of every frame, (T, B, N + 1, H, W)."""
    truth = {0: Annotation(tuple(range(1, objects.shape[1] + 1)), objects)}
    return torch.stack([seen.masks for seen in propagate(images, truth, network)])


class TestShapes:
    @pytest.mark.parametrize("count", [1, 2, 3])
    @pytest.mark.parametrize("batch", [1, 2])
    def test_there_are_log_odds_for_every_object_of_every_clip(
        self, any_network: Stm, batch: int, count: int
    ) -> None:
        first, second = (any_network.encode(image) for image in random_images(2, batch))
        memory = any_network.memorize(first, random_masks(batch, count))
        logits = any_network.segment(second, memory)
        assert logits.shape == (batch, count, 32, 48)
        assert logits.dtype == torch.float32

    def test_keys_are_made_once_for_all_objects_or_once_for_each(self, any_network: Stm) -> None:
        features = any_network.encode(random_images(1, 2)[0])
        memory = any_network.memorize(features, random_masks(2, 3))
        frames = memory.frames
        if not isinstance(frames, StackedMemory):
            return
        own = any_network.settings.keys == "own"
        assert frames.keys[0].shape[:3] == (2, 3 if own else 1, 2 * 3)
        values = frames.values[0].shape
        assert values[1] * values[3] == 3 * TINY.value_channels

    def test_a_sixteenth_of_the_image_is_where_frames_are_matched(self, network: Stm) -> None:
        features = network.encode(random_images(1, 1, 32, 64)[0])
        assert features.key.shape == (1, TINY.key_channels, 2, 4)
        assert features.value.shape == (1, TINY.value_channels, 2, 4)
        assert features.scene.shape == (1, 64, 16, 32)


def answer_after_two_frames(network: Stm, count: int) -> Tensor:
    """Return the log-odds of objects in a frame, read from a memory of two others."""
    first, second, third = (network.encode(image) for image in random_images(3, 1))
    masks = random_masks(1, count)
    memory = network.memorize(second, masks, network.memorize(first, masks, None, True))
    return network.segment(third, memory)


def written(settings: StmSettings) -> list[str]:
    """Return what names a network of `variant`."""
    parts = {"half": settings.output_stride == 2, "located": settings.location_cue}
    chosen = [name for name, there in parts.items() if there]
    return [settings.memory, settings.keys, settings.values, *chosen]


def distance(got: Tensor, expected: Tensor) -> float:
    """Return how far a tensor is from another one, as a share of its length."""
    return float((got.detach() - expected.detach()).norm() / expected.detach().norm())


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        *itertools.product(
            [variant(k, v, "l2", "gcm") for k in get_args(Own) for v in get_args(Own)],
            [1, 2],
        ),
        *((variant("shared", "shared", "l2", memory, "half", "located"), 2) for memory in MEMORIES),
    ],
    ids=lambda case: str(case) if isinstance(case, int) else "-".join(written(case)),
)
class TestInBf16:
    def test_a_network_with_bf16_weights_gives_the_answers_of_float32(
        self, settings: StmSettings, count: int
    ) -> None:
        network = build(settings).eval().requires_grad_(False)
        expected = answer_after_two_frames(network, count)
        got = answer_after_two_frames(network.to(torch.bfloat16), count)
        assert got.dtype == torch.float32
        assert distance(got, expected) < 0.05

    def test_training_under_autocast_gives_the_answers_and_gradients_of_float32(
        self, settings: StmSettings, count: int
    ) -> None:
        network = build(settings).train()
        answers, gradients = [], []
        for half in (False, True):
            network.zero_grad(set_to_none=True)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
                answers.append(answer_after_two_frames(network, count))
            answers[-1].square().mean().backward()
            assert network.memory_value.weight.grad is not None
            gradients.append(network.memory_value.weight.grad)
        assert distance(answers[1], answers[0]) < 0.05
        assert distance(gradients[1], gradients[0]) < 0.1


class TestGradients:
    def test_reach_the_masks_and_every_trainable_weight_through_propagation_and_cycle(
        self, any_network: Stm
    ) -> None:
        any_network.zero_grad(set_to_none=True)
        images, truth = scene(3)
        objects = truth[0][:, 1:].clone().requires_grad_()
        frames = propagate(images, {0: Annotation((1,), objects)}, any_network, References(every=1))
        reference = Reference(next(frames).features, truth[0])
        loss = torch.zeros(1)
        for seen, masks in zip(frames, truth[1:], strict=True):
            loss = loss + mask_loss(seen.masks, masks)
            loss = loss + cycle_loss(any_network, seen.features, seen.masks, reference)
        loss.sum().backward()
        assert objects.grad is not None
        assert objects.grad.abs().sum() > 0
        dead = [
            name
            for name, parameter in any_network.named_parameters()
            if parameter.requires_grad
            and (parameter.grad is None or not parameter.grad.abs().sum() > 0)
        ]
        assert dead == []

    def test_of_the_masks_are_finite_where_masks_are_0_or_1(
        self, network: Stm, clip: Scene
    ) -> None:
        masks = clip.masks[1].clone().requires_grad_()
        features = network.encode(clip.images[1])
        reference = Reference(network.encode(clip.images[0]), clip.masks[0])
        loss = cycle_loss(network, features, masks, reference).sum()
        (gradient,) = torch.autograd.grad(loss, masks)
        assert gradient.isfinite().all()


class TestObjectsAndClips:
    def test_objects_in_another_order_get_the_same_masks_in_that_order(
        self, any_network: Stm
    ) -> None:
        images, objects = random_images(4, 1), random_masks(1, 3)[:, 1:].round()
        straight = follow(any_network, images, objects)
        turned = follow(any_network, images, objects[:, [2, 0, 1]])
        torch.testing.assert_close(turned, straight[:, :, [0, 3, 1, 2]], rtol=1e-3, atol=1e-4)

    def test_an_object_s_log_odds_do_not_depend_on_the_other_objects(
        self, any_network: Stm
    ) -> None:
        first, second = (any_network.encode(image) for image in random_images(2, 1))
        masks = random_masks(1, 3)
        together = any_network.segment(second, any_network.memorize(first, masks))
        masks = torch.cat([1 - masks[:, 2:3], masks[:, 2:3]], dim=1)
        alone = any_network.segment(second, any_network.memorize(first, masks))
        torch.testing.assert_close(together[:, 1:2], alone, rtol=1e-3, atol=1e-4)

    def test_a_clip_in_a_batch_gives_what_it_gives_alone(self, any_network: Stm) -> None:
        images, objects = random_images(3, 2), random_masks(2, 2)[:, 1:].round()
        together = follow(any_network, images, objects)
        alone = follow(any_network, images[:, 1:], objects[1:])
        torch.testing.assert_close(together[:, 1:], alone, rtol=1e-3, atol=1e-4)

    @torch.no_grad()
    def test_two_videos_interleaved_give_what_they_give_alone(self, network: Stm) -> None:
        images, objects = random_images(4, 2), random_masks(2, 1)[:, 1:].round()
        clips = [(images[:, b : b + 1], objects[b : b + 1]) for b in range(2)]
        alone = [follow(network, *video) for video in clips]
        running = [
            propagate(shown, {0: Annotation((1,), first)}, network) for shown, first in clips
        ]
        for index, pair in enumerate(zip(*running, strict=True)):
            for seen, expected in zip(pair, alone, strict=True):
                assert torch.equal(seen.masks, expected[index])

    def test_what_is_seen_does_not_depend_on_what_was_masked(self, network: Stm) -> None:
        image = random_images(1, 1)[0]
        before = network.encode(image)
        network.segment(before, network.memorize(before, random_masks(1, 2)))
        after = network.encode(image)
        for name in ("key", "value", "scene"):
            assert torch.equal(getattr(before, name), getattr(after, name))
        for one, other in zip(before.skips, after.skips, strict=True):
            assert torch.equal(one, other)

    def test_masks_matter(self, any_network: Stm) -> None:
        first, second = (any_network.encode(image) for image in random_images(2, 1))
        masks = random_masks(1, 1)
        one = any_network.segment(second, any_network.memorize(first, masks))
        other = any_network.segment(second, any_network.memorize(first, masks.flip(1)))
        assert not torch.allclose(one, other)


@pytest.fixture(scope="module")
def located() -> Stm:
    return build(variant("own", "own", "dot", "stm", "located")).eval()


class TestLocationCue:
    def test_is_the_mask_of_the_frame_remembered_last(self, located: Stm) -> None:
        first, second = (located.encode(image) for image in random_images(2, 2))
        masks = random_masks(2, 3)
        bank = located.memorize(first, masks, None, True)
        recent = located.memorize(second, masks.flip(3), bank)
        for memory, expected in ((bank, masks), (recent, masks.flip(3))):
            assert memory.location is not None
            share = expected[:, 1:].unflatten(3, (3, 16)).unflatten(2, (2, 16)).mean(dim=(3, 5))
            torch.testing.assert_close(memory.location, torch.stack([share, 1 - share], dim=2))

    def test_moves_an_object_s_log_odds_and_no_other_s(self, located: Stm) -> None:
        first, second = (located.encode(image) for image in random_images(2, 1))
        memory = located.memorize(first, random_masks(1, 2), None, True)
        assert memory.location is not None
        elsewhere = memory.location.clone()
        elsewhere[:, 0, 0], elsewhere[:, 0, 1] = 1, 0  # the first object was everywhere
        before = located.segment(second, memory)
        after = located.segment(second, StmMemory(memory.frames, elsewhere))
        assert (after - before)[:, 0].abs().max() > 0.01
        torch.testing.assert_close(after[:, 1], before[:, 1])

    def test_is_hidden_from_the_cycle_which_reads_another_moment(
        self, located: Stm, clip: Scene
    ) -> None:
        blind = Stm(located.settings.model_copy(update={"location_cue": False})).eval()
        blind.load_state_dict(located.state_dict(), strict=False)
        losses = [
            cycle_loss(
                network,
                network.encode(clip.images[1]),
                clip.masks[1],
                Reference(network.encode(clip.images[0]), clip.masks[0]),
            )
            for network in (located, blind)
        ]
        assert torch.equal(*losses)

    def test_is_seen_in_every_frame_that_follows(self, located: Stm, clip: Scene) -> None:
        blind = Stm(located.settings.model_copy(update={"location_cue": False})).eval()
        blind.load_state_dict(located.state_dict(), strict=False)
        seen, unseen = (
            follow(network, clip.images, clip.masks[0][:, 1:]) for network in (located, blind)
        )
        assert torch.equal(seen[0], unseen[0])  # it is given
        assert (seen[1:] - unseen[1:]).abs().amax(dim=(1, 2, 3, 4)).min() > 1e-3


def test_images_are_normalised_as_torchvision_s_weights_expect(network: Stm) -> None:
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    stem = network.encode(mean.expand(1, 3, 32, 32)).scene
    # the mean colour is nothing: what is left is the bias
    assert network.memory_stem.bias is not None
    torch.testing.assert_close(
        stem, network.memory_stem.bias.view(1, -1, 1, 1).expand_as(stem), atol=1e-5, rtol=1e-5
    )


def test_it_starts_both_encoders_from_the_weights_given() -> None:
    state = torchvision.models.get_model("resnet18", weights=None).state_dict()
    started = Stm(TINY, state)
    expected = state["layer3.1.conv2.weight"] / (1 + 1e-5) ** 0.5  # batch norm at its start
    for body in (started.query_body, started.memory_body):
        weight = body.get_submodule("layer3.1.conv2").get_parameter("weight")
        torch.testing.assert_close(weight.detach(), expected)


def test_shared_values_look_at_the_image_once(network: Stm) -> None:
    shared = Stm(variant("shared", "shared", "l2", "stm")).eval()
    features = shared.encode(random_images(1, 1)[0])
    assert features.scene.shape == (1, 128, 2, 3)
    assert shared.pretrained == ("query_stem.", "query_body.")
    sizes = [sum(p.numel() for p in each.parameters()) for each in (shared, network)]
    assert sizes[0] < sizes[1]


def test_all_of_the_memory_is_read_in_training() -> None:
    network = Stm(TINY.model_copy(update={"top_k": 7}))
    tops = []
    for mode in (True, False):
        memory = network.train(mode).empty_memory()
        assert isinstance(memory, StackedMemory)
        tops.append(memory.options.top)
    assert tops == [0, 7]


def test_annotated_frames_count_as_the_settings_say() -> None:
    network = Stm(TINY.model_copy(update={"similarity": "l2", "annotated_weight": 2.0})).eval()
    key, value, query = torch.randn(3, 1, 1, TINY.key_channels, 2, 3)
    read = [
        network.empty_memory().add(query, value, annotated).add(key, -value, False).read(query)
        for annotated in (True, False)
    ]
    # what an annotated frame holds, here `value`, comes through more
    shares = [(torch.dot(each.flatten(), value.flatten()) / value.square().sum()) for each in read]
    assert shares[0] > shares[1]


def test_no_more_frames_are_remembered_than_asked(network: Stm) -> None:
    network.memory_frames = 3
    lengths: list[int] = []

    class Counting:
        stride = network.stride
        encode = network.encode
        memorize = network.memorize

        def segment(self, features: object, memory: StmMemory) -> Tensor:
            assert isinstance(memory.frames, StackedMemory)
            lengths.append(len(memory.frames.keys))
            return network.segment(features, memory)  # type: ignore[arg-type]

    with torch.no_grad():
        images, masks = scene(7)
        truth = {0: Annotation((1,), masks[0][:, 1:])}
        list(propagate(images, truth, Counting(), References(every=1)))
    assert lengths == [1, 2, 3, 3, 3, 3]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_computes_what_the_cpu_computes(network: Stm, clip: Scene) -> None:
    with torch.no_grad():
        expected = follow(network, clip.images, clip.masks[0][:, 1:])
        there = copy.deepcopy(network).cuda()
        got = follow(there, clip.images.cuda(), clip.masks[0][:, 1:].cuda())
    torch.testing.assert_close(got.cpu(), expected, rtol=1e-2, atol=1e-2)
