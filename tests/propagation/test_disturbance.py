"""Disturbed memories: what a frame is remembered by, and attacks by hand-made truth."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import TINY, ColourMemory, ColourSegmenter, Scene, scene
from tests.propagation.test_frame_loop import Asked, Recorder, numbered, square, truth_of
from vostool.errors import UsageError
from vostool.model.aggregate import aggregate
from vostool.model.interface import Reference, Segmenter
from vostool.model.stm import Stm
from vostool.propagation.correction import (
    Goal,
    admissible,
    explain,
    of_length,
    with_background,
)
from vostool.propagation.disturbance import (
    Attack,
    Boxes,
    Replacement,
    boxes,
    masks_of,
    with_momentum,
    within,
)
from vostool.propagation.frame_loop import Track, propagate, replay
from vostool.propagation.frames import Annotation, KnownFrame, windows
from vostool.propagation.group import FrameLoop
from vostool.propagation.losses import mask_loss
from vostool.propagation.references import REFERENCE_SETS, References

MARK = 0.75  # what the objects of a disturbed frame are in these tests


@dataclass(frozen=True)
class Marked:
    """A disturbance that takes down what it is shown, and makes every object `MARK`."""

    every: int = 5
    foresees: bool = False
    windows: list[list[int]] = field(default_factory=list)  # the numbers of the frames

    def __call__(
        self,
        segmenter: Segmenter[Any, Any],
        window: list[KnownFrame],
        ids: tuple[int, ...],
        masks: Tensor,
    ) -> Tensor:
        self.windows.append([int(frame.image.flatten()[0]) for frame in window])
        return with_background(torch.full_like(masks[:, 1:], MARK))


def remembered_with(
    disturbance: Marked, count: int = 14, **options: Any
) -> tuple[Recorder, dict[int, set[int]]]:
    """Run over numbered frames; return of each frame that read memory which were disturbed."""
    recorder = Recorder()
    annotations = options.pop("annotations", {0: square(1)})
    list(
        propagate(numbered(count), annotations, recorder, disturbance=disturbance, **options)  # type: ignore[arg-type]
    )
    reads = zip(recorder.reads, recorder.memories, strict=True)
    return recorder, {
        frame: {index for index, masks in memory if (masks[:, 1:] == MARK).all()}
        for (frame, _), memory in reads
    }


class TestADisturbedFrame:
    def test_a_disturbed_frame_is_every_kth_that_stays_and_clean_while_it_is_the_previous_one(
        self,
    ) -> None:
        recorder, disturbed = remembered_with(Marked())
        assert recorder.reads[5] == (6, (0, 5)), "frame 6 reads frame 5 once"
        assert disturbed == {
            **{frame: set() for frame in range(1, 7)},
            **{frame: {5} for frame in range(7, 12)},
            **{frame: {5, 10} for frame in range(12, 14)},
        }

    @pytest.mark.parametrize(
        ("every", "memory_every", "expected"),
        [(10, 5, {10, 20}), (3, 5, {15}), (2, 3, {6, 12, 18})],
    )
    def test_a_disturbed_frame_is_one_of_those_that_stay_in_memory(
        self, every: int, memory_every: int, expected: set[int]
    ) -> None:
        disturbance = Marked(every)
        references = References(every=memory_every)
        _, disturbed = remembered_with(disturbance, 23, references=references)
        assert disturbed[22] == expected
        assert {window[0] for window in disturbance.windows} == expected

    def test_a_disturbed_frame_is_never_an_annotated_one(self) -> None:
        annotations = {0: square(1), 5: square(1, row=1)}
        _, disturbed = remembered_with(Marked(), annotations=annotations)
        assert disturbed[13] == {10}

    def test_a_disturbed_frame_is_never_one_without_objects(self) -> None:
        disturbance = Marked()
        remembered_with(disturbance, annotations={7: square(1)})
        assert disturbance.windows == [[10, 11]]

    def test_a_disturbed_frame_is_never_the_last_which_nobody_reads(self) -> None:
        disturbance = Marked()
        remembered_with(disturbance, 11)
        assert disturbance.windows == [[5, 6]]

    @pytest.mark.parametrize("name", ["first", "previous", "first+previous"])
    def test_no_frame_is_disturbed_where_no_predicted_one_stays(self, name: str) -> None:
        disturbance = Marked()
        remembered_with(disturbance, references=REFERENCE_SETS[name])
        assert disturbance.windows == []

    def test_a_disturbed_frame_is_what_the_next_frame_reads_where_there_is_no_local_memory(
        self,
    ) -> None:
        _, disturbed = remembered_with(Marked(), references=References(previous=False))
        assert disturbed[6] == {5}

    def test_a_disturbed_frame_is_written_as_it_was_predicted(self, clip: Scene) -> None:
        truth = {0: truth_of(clip, 0, 1)}
        seen = list(propagate(clip.images, truth, ColourSegmenter(), disturbance=Boxes(every=5)))
        plain = list(propagate(clip.images, truth, ColourSegmenter()))
        for index in range(7):  # the first to read it is frame 7
            assert torch.equal(seen[index].masks, plain[index].masks)
        assert seen[5].staying is not None
        assert seen[4].staying is None


class TestTheCorrection:
    def test_the_correction_starts_from_the_disturbed_masks_and_is_for_memory_only(
        self,
    ) -> None:
        started: list[Tensor] = []

        class Starting(Asked):
            def __call__(  # type: ignore[override]
                self, segmenter: object, features: Tensor, masks: Tensor, goals: list[Any]
            ) -> Tensor:
                started.append(masks)
                return super().__call__(segmenter, features, masks, goals)  # type: ignore[arg-type]

        recorder = Recorder()
        seen = list(
            propagate(
                numbered(13),
                {0: square(1)},
                recorder,
                correction=Starting(every=5),
                disturbance=Marked(every=10),  # type: ignore[arg-type]
            )
        )
        assert [(masks[:, 1:] == MARK).all().item() for masks in started] == [False, True]
        assert all((each.masks[:, 1:] == 0.5).all() for each in seen[1:])
        of_memory = {
            frame: dict(memory)
            for (frame, _), memory in zip(recorder.reads, recorder.memories, strict=True)
        }
        for corrected in (5, 10):
            assert (of_memory[corrected + 1][corrected][:, 1:] == 0.5).all()
            assert (of_memory[corrected + 2][corrected][:, 1:] == 0).all()

    def test_a_disturbed_run_corrects_only_frames_that_stay(self) -> None:
        correction = Asked(every=1)
        list(
            propagate(
                numbered(13),
                {0: square(1)},
                Recorder(),
                correction=correction,
                disturbance=Marked(),  # type: ignore[arg-type]
            )
        )
        assert len(correction.goals) == 2


class TestStreaming:
    @pytest.mark.parametrize(
        ("every", "memory_every", "foresees", "ahead"),
        [(5, 5, True, 5), (5, 5, False, 1), (2, 3, True, 6), (10, 5, True, 10)],
    )
    def test_a_disturbed_run_takes_no_more_images_than_up_to_the_next_disturbed_frame(
        self, every: int, memory_every: int, foresees: bool, ahead: int
    ) -> None:
        taken: list[int] = []

        def images() -> Iterator[Tensor]:
            for index, image in enumerate(numbered(40)):
                taken.append(index)
                yield image

        disturbance = Marked(every, foresees)
        frames = propagate(
            images(),
            {0: square(1)},
            Recorder(),
            References(every=memory_every),
            disturbance=disturbance,  # type: ignore[arg-type]
        )
        for index in range(30):
            next(frames)
            assert len(taken) == index + 1 + ahead
        assert all(
            window == list(range(window[0], window[-1] + 1)) for window in disturbance.windows
        )
        assert {len(window) for window in disturbance.windows} == {1 + ahead}

    def test_windows_get_shorter_at_the_end(self) -> None:
        assert list(windows("abcd", 2)) == [tuple("abc"), tuple("bcd"), tuple("cd"), ("d",)]
        assert list(windows("ab", 0)) == [("a",), ("b",)]
        assert list(windows("ab", 9)) == [("a", "b"), ("b",)]


@pytest.mark.parametrize("frame", [4, 5, 6, 9, 12])
def test_a_replayed_track_of_a_disturbed_run_goes_on_bit_for_bit(frame: int, network: Stm) -> None:
    two = scene(16, two=True)
    known = {index: truth_of(two, index, 1, 2) for index in range(16)}
    loop = FrameLoop(network, References(every=5), memory_frames=None, disturbance=Boxes(every=5))
    annotations = {0: truth_of(two, 0, 1), 4: truth_of(two, 4, 2)}

    def follow(track: Track[Any, Any], start: int = 0) -> Iterator[tuple[Track[Any, Any], Tensor]]:
        for index in range(start, 16):
            window = [KnownFrame(two.images[i], known[i]) for i in range(index, min(index + 2, 16))]
            track, prediction = track.advance(two.images[index], annotations.get(index), window)
            yield track, prediction.masks

    with torch.no_grad():
        tracks, masks = zip(*follow(Track(loop)), strict=True)
        again = replay(loop, tracks[frame].frames)
        for (_, found), expected in zip(follow(again, frame + 1), masks[frame + 1 :], strict=True):
            assert torch.equal(found, expected)


class TestBoxes:
    def test_boxes_of_hand_made_objects_are_filled_from_end_to_end(self) -> None:
        objects = torch.zeros(1, 3, 5, 6)
        objects[0, 0, 1, 1] = objects[0, 0, 3, 4] = 1  # two pixels
        objects[0, 1, 4, 0] = 1  # a corner
        expected = torch.zeros(1, 3, 5, 6)
        expected[0, 0, 1:4, 1:5] = 1
        expected[0, 1, 4, 0] = 1
        assert torch.equal(boxes(objects), expected)

    def test_boxes_are_of_the_known_objects_and_share_what_two_of_them_cover(self) -> None:
        objects = torch.zeros(1, 2, 4, 6)
        objects[0, 0, 0, 0] = objects[0, 0, 2, 2] = 1
        objects[0, 1, 2, 3] = objects[0, 1, 1, 1] = 1
        known = KnownFrame(torch.zeros(1, 3, 4, 6), Annotation((4, 2), objects))
        predicted = with_background(torch.full((1, 3, 4, 6), 0.3))
        masks = Boxes()(ColourSegmenter(), [known], (2, 7, 4), predicted)
        first, second = torch.zeros(2, 4, 6)
        first[0:3, 0:3], second[1:3, 1:4] = 1, 1
        first[1:3, 1:3] = second[1:3, 1:3] = 0.5
        assert torch.equal(masks[0, 1:], torch.stack([second, torch.zeros(4, 6), first]))
        torch.testing.assert_close(masks.sum(dim=1), torch.ones(1, 4, 6))

    def test_boxes_are_of_the_predicted_masks_where_the_objects_are_unknown(self) -> None:
        predicted = with_background(torch.full((1, 1, 4, 6), 0.4))
        predicted = predicted.index_put(
            (torch.tensor(0), torch.tensor(1), torch.tensor([0, 2]), torch.tensor([1, 3])),
            torch.tensor(0.7),
        )
        masks = Boxes()(ColourSegmenter(), [KnownFrame(torch.zeros(1, 3, 4, 6))], (1,), predicted)
        expected = torch.zeros(4, 6)
        expected[0:3, 1:4] = 1
        assert torch.equal(masks[0, 1], expected)


def test_other_masks_take_the_place_of_the_predicted_ones_in_the_order_of_the_ids() -> None:
    two = scene(two=True)
    known = KnownFrame(two.images[4], Annotation((2, 1), two.masks[4][:, [2, 1]]))
    predicted = torch.full_like(two.masks[4], 1 / 3)
    masks = Replacement()(ColourSegmenter(), [known], (1, 2), predicted)
    assert torch.equal(masks, two.masks[4])


def test_other_masks_leave_a_frame_as_predicted_where_they_have_none() -> None:
    predicted = torch.full((1, 2, 4, 6), 0.5)
    unknown = KnownFrame(torch.zeros(1, 3, 4, 6))
    assert Replacement()(ColourSegmenter(), [unknown], (1,), predicted) is predicted


def test_only_an_attack_waits_for_frames_up_to_the_next_disturbed_one() -> None:
    """Each of them is held; boxes and other masks need but to know whether another one follows."""
    ahead = {
        type(each).__name__: FrameLoop(Recorder(), disturbance=each).look_ahead
        for each in (Boxes(), Replacement(), Attack())
    }
    assert ahead == {"Boxes": 1, "Replacement": 1, "Attack": 5}


def test_objects_that_are_not_known_on_a_frame_are_nowhere() -> None:
    two = scene(two=True)
    masks = masks_of(truth_of(two, 4, 2), (1, 2))
    assert torch.equal(masks[:, 1], torch.zeros_like(masks[:, 1]))
    assert torch.equal(masks[:, 2], two.masks[4][:, 2])
    assert torch.equal(masks[:, 0], 1 - two.masks[4][:, 2])
    empty = masks_of(Annotation((), two.masks[4][:, :0]), (1, 2))
    assert torch.equal(empty[:, 0], torch.ones_like(empty[:, 0]))
    assert not empty[:, 1:].any()


ATTACKED = 3  # the frame whose masks are attacked
EPSILON = 20 / 255


def soft(masks: Tensor) -> Tensor:
    """Return masks that are less sure."""
    return masks.lerp(torch.full_like(masks, 1 / masks.shape[1]), 0.3)


def window_of(clip: Scene, ids: tuple[int, ...], *, frames: int = 3) -> list[KnownFrame]:
    """Return the attacked frame and some to come, with their truth."""
    return [
        KnownFrame(clip.images[index], truth_of(clip, index, *ids))
        for index in range(ATTACKED, ATTACKED + frames)
    ]


def loss_of(
    segmenter: Segmenter[Any, Any], window: list[KnownFrame], ids: tuple[int, ...]
) -> Callable[[Tensor], Tensor]:
    """Return a function of the first frame's objects: the loss of the others, each predicted from
    that frame alone."""
    here, *coming = window
    features = segmenter.encode(here.image)
    goals = [
        Goal(
            tuple(range(len(ids) + 1)),
            Reference(segmenter.encode(each.image), masks_of(each.objects, ids)),
        )
        for each in coming
        if each.objects is not None
    ]
    return lambda objects: torch.stack(list(explain(segmenter, features, goals)(objects))).sum()


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> Stm:
    """A network in float64, whose log-odds are float32 else."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    torch.manual_seed(2)
    settings = TINY.model_copy(update={"keys": "shared", "similarity": "l2"})
    return Stm(settings).double().eval().requires_grad_(False)


def rough() -> tuple[list[KnownFrame], Tensor]:
    """Return a window of noise in float64, and masks for its first frame.

    On even frames and masks many maxima are tied, where a gradient is one of several.
    """
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(3, 1, 3, 32, 48, dtype=torch.float64, generator=generator)
    objects = torch.zeros(1, 2, 32, 48, dtype=torch.float64)
    objects[:, 0, 4:20] = objects[:, 1, 20:, 8:30] = 1
    window = [KnownFrame(image, Annotation((1, 2), objects.roll(4, dims=3))) for image in images]
    noise = torch.rand(objects.shape, dtype=torch.float64, generator=generator)
    return window, with_background(0.1 + 0.3 * objects + 0.1 * noise)


class TestFgsm:
    def test_fgsm_is_epsilon_times_the_sign_of_finite_differences(self, exact: Stm) -> None:
        (window, masks), ids = rough(), (1, 2)
        moved = Attack()(exact, window, ids, masks)[:, 1:] - masks[:, 1:]
        loss = loss_of(exact, window, ids)
        chosen = torch.randperm(masks[:, 1:].numel(), generator=torch.Generator().manual_seed(0))
        checked = 0
        with torch.no_grad():
            for pixel in chosen[:20].tolist():
                way = torch.zeros_like(masks[:, 1:])
                way.view(-1)[pixel] = 1e-6
                ahead, behind = (loss(masks[:, 1:] + sign * way).item() for sign in (1, -1))
                if abs(ahead - behind) > 1e-12:  # above the rounding
                    checked += 1
                    expected = EPSILON if ahead > behind else -EPSILON
                    assert moved.flatten()[pixel].item() == pytest.approx(expected, abs=1e-12)
        assert checked > 15

    def test_fgsm_moves_every_pixel_that_matters_by_epsilon_and_so_raises_the_loss(
        self, clip: Scene
    ) -> None:
        segmenter, window = ColourSegmenter(), window_of(clip, (1,))
        masks = soft(clip.masks[ATTACKED])
        with torch.no_grad():
            found = Attack()(segmenter, window, (1,), masks)
            before, after = (
                loss_of(segmenter, window, (1,))(each[:, 1:]).item() for each in (masks, found)
            )
        moved = (found - masks)[:, 1:].abs()
        assert (((moved - EPSILON).abs() < 1e-6) | (moved < 1e-6)).all()
        assert (moved > 0).float().mean() > 0.9
        assert after > before + 0.01

    def test_fgsm_of_no_strength_gives_back_the_very_masks(self, clip: Scene) -> None:
        window, masks = window_of(clip, (1,)), soft(clip.masks[ATTACKED])
        assert Attack(strength=0.0)(ColourSegmenter(), window, (1,), masks) is masks
        assert Attack(strength=1.0)(ColourSegmenter(), window, (1,), masks) is not masks

    def test_fgsm_raises_the_loss_of_the_frames_to_come(self, network: Stm, clip: Scene) -> None:
        window, masks = window_of(clip, (1,)), soft(clip.masks[ATTACKED])
        losses = []
        with torch.no_grad():
            for strength in (0.0, 2.0, 20.0):
                found = Attack(strength=strength)(network, window, (1,), masks)
                losses.append(loss_of(network, window, (1,))(found[:, 1:]).item())
        assert all(later > earlier for earlier, later in pairwise(losses))

    def test_fgsm_looks_only_at_frames_whose_objects_are_known(
        self, network: Stm, clip: Scene
    ) -> None:
        window, masks = window_of(clip, (1,)), soft(clip.masks[ATTACKED])
        blind = [window[0], replace(window[1], objects=None), window[2]]
        with torch.no_grad():
            found = Attack()(network, blind, (1,), masks)
            alone = Attack()(network, [window[0], window[2]], (1,), masks)
            assert torch.equal(found, alone)
            nothing = [window[0], replace(window[1], objects=None)]
            assert Attack()(network, nothing, (1,), masks) is masks

    def test_fgsm_leaves_no_gradients_in_the_weights(self, network: Stm, clip: Scene) -> None:
        with torch.no_grad():
            found = Attack()(network, window_of(clip, (1,)), (1,), soft(clip.masks[ATTACKED]))
        assert not found.requires_grad
        assert all(weight.grad is None for weight in network.parameters())


class TestMiFgsm:
    def test_mi_fgsm_of_one_step_is_fgsm_with_and_without_momentum(
        self, network: Stm, clip: Scene
    ) -> None:
        window, masks = window_of(clip, (1,)), soft(clip.masks[ATTACKED])
        with torch.no_grad():
            plain = Attack(steps=1)(network, window, (1,), masks)
            assert not torch.equal(plain, masks)
            for momentum in (0.0, 1.0):
                found = Attack(steps=1, momentum=momentum)(network, window, (1,), masks)
                assert torch.equal(found, plain)

    def test_mi_fgsm_follows_algorithm_1_of_its_paper(self, exact: Stm) -> None:
        (window, masks), ids = rough(), (1, 2)
        start = objects = masks[:, 1:]
        velocity = torch.zeros_like(objects)
        for _ in range(4):
            leaf = objects.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(loss_of(exact, window, ids)(leaf), leaf)
            velocity = 0.9 * velocity + gradient / gradient.abs().sum()
            objects = objects + EPSILON / 4 * velocity.sign()
            objects = torch.minimum(torch.maximum(objects, start - EPSILON), start + EPSILON)
            objects = objects.clamp(0, 1)
        with torch.no_grad():
            found = Attack(steps=4, momentum=0.9)(exact, window, ids, masks)
            plain = Attack(steps=4)(exact, window, ids, masks)
        torch.testing.assert_close(found[:, 1:], objects, rtol=0, atol=1e-12)
        assert not torch.equal(found, plain)

    def test_mi_fgsm_moves_by_an_equal_share_of_epsilon_in_each_step(self, clip: Scene) -> None:
        """Up to the whole where the gradient keeps its sign."""
        segmenter, window = ColourSegmenter(), window_of(clip, (1,))
        masks = soft(clip.masks[ATTACKED])
        moved = []
        with torch.no_grad():
            for steps in (1, 4):
                found = Attack(steps=steps, momentum=1.0)(segmenter, window, (1,), masks)
                moved.append((found - masks)[:, 1:])
        shares = 4 * moved[1] / EPSILON  # of the steps, up less down
        torch.testing.assert_close(shares, shares.round(), rtol=0, atol=1e-4)
        assert (moved[0] == moved[1]).float().mean() > 0.5

    def test_mi_fgsm_raises_the_loss_further_than_fgsm(self, network: Stm, clip: Scene) -> None:
        window, masks = window_of(clip, (1,)), soft(clip.masks[ATTACKED])
        with torch.no_grad():
            found = [
                Attack(steps=steps, momentum=1.0)(network, window, (1,), masks) for steps in (1, 10)
            ]
            once, often = (loss_of(network, window, (1,))(each[:, 1:]).item() for each in found)
        assert often > once


class TestAnAttack:
    @pytest.mark.parametrize("steps", [1, 5])
    @pytest.mark.parametrize("strength", [1.0, 20.0, 200.0])
    def test_an_attack_gives_masks_within_epsilon(
        self, network: Stm, strength: float, steps: int
    ) -> None:
        two, ids = scene(two=True), (1, 2)
        masks = two.masks[ATTACKED]  # at the edge of what is admissible
        with torch.no_grad():
            attack = Attack(strength=strength, steps=steps, momentum=1.0)
            found = attack(network, window_of(two, ids), ids, masks)
        assert (found[:, 1:] - masks[:, 1:]).abs().max() <= strength / 255 + 1e-6
        assert found.amin() >= 0
        assert found.amax() <= 1
        torch.testing.assert_close(found.sum(dim=1), torch.ones_like(found[:, 0]))

    def test_an_attack_that_raises_many_objects_at_once_stays_within_epsilon(
        self, network: Stm, clip: Scene
    ) -> None:
        """They must not crowd out the one that is there."""
        ids = tuple(range(1, 9))
        masks = torch.zeros(1, 9, *clip.masks[0].shape[2:])
        masks[:, 1] = 1
        known = Annotation(ids, masks[:, 1:])
        window = [KnownFrame(clip.images[index], known) for index in range(2)]
        with torch.no_grad():
            found = Attack(strength=20.0)(network, window, ids, masks)
        raised = (found[:, 2:] > 0).sum(dim=1)
        assert raised.max() > 2, "more than one object was raised"
        assert (found[:, 1:] - masks[:, 1:]).abs().max() <= EPSILON + 1e-6

    def test_an_attack_of_no_strength_changes_no_bit_of_a_run(
        self, network: Stm, clip: Scene
    ) -> None:
        truth = {index: truth_of(clip, index, 1) for index in range(len(clip.images))}
        first = {0: truth[0]}
        references = References(every=2)
        with torch.no_grad():
            plain = propagate(clip.images, first, network, references)
            attack = Attack(every=2, strength=0.0, steps=3)
            same = propagate(
                clip.images, first, network, references, disturbance=attack, known=truth
            )
            for a, b in zip(plain, same, strict=True):
                assert torch.equal(a.masks, b.masks)

    def test_an_attack_of_any_strength_changes_later_frames(
        self, network: Stm, clip: Scene
    ) -> None:
        truth = {index: truth_of(clip, index, 1) for index in range(len(clip.images))}
        references = References(every=2)
        with torch.no_grad():
            plain = list(propagate(clip.images, {0: truth[0]}, network, references))
            attacked = list(
                propagate(
                    clip.images,
                    {0: truth[0]},
                    network,
                    references,
                    disturbance=Attack(every=2),
                    known=truth,
                )
            )
        changed = [not torch.equal(a.masks, b.masks) for a, b in zip(plain, attacked, strict=True)]
        assert changed == [False] * 4 + [True] * 4, "frame 2 is disturbed, frame 4 reads it"

    def test_an_attack_by_another_model_asks_that_one_alone(self, clip: Scene) -> None:
        @dataclass
        class Spy(ColourSegmenter):
            asked: list[str] = field(default_factory=list)

            def encode(self, image: Tensor) -> Tensor:
                self.asked.append("encode")
                return super().encode(image)

            def memorize(
                self,
                features: Tensor,
                masks: Tensor,
                memory: ColourMemory | None = None,
                annotated: bool = False,
            ) -> ColourMemory:
                self.asked.append("memorize")
                return super().memorize(features, masks, memory)

            def segment(self, features: Tensor, memory: ColourMemory) -> Tensor:
                self.asked.append("segment")
                return super().segment(features, memory)

        victim, attacker = Spy(), Spy()
        window, masks = window_of(clip, (1,)), soft(clip.masks[ATTACKED])
        with torch.no_grad():
            found = Attack(attacker=attacker)(victim, window, (1,), masks)
            assert torch.equal(found, Attack()(victim, window, (1,), masks))
        assert attacker.asked == ["encode"] * 3 + ["memorize", "segment"] * 2
        assert victim.asked == attacker.asked, "in the second call, its own"

    def test_an_attack_uses_the_loss_of_equation_4(self, clip: Scene) -> None:
        window, masks = window_of(clip, (1,), frames=2), soft(clip.masks[ATTACKED])
        segmenter = ColourSegmenter()
        predicted = aggregate(
            segmenter.segment(window[1].image, segmenter.memorize(window[0].image, masks))
        )
        expected = mask_loss(predicted, clip.masks[ATTACKED + 1])
        torch.testing.assert_close(loss_of(segmenter, window, (1,))(masks[:, 1:]), expected.sum())

    @pytest.mark.parametrize(
        "options",
        [
            {"every": 0},
            {"steps": 0},
            {"strength": -1.0},
            {"strength": 256.0},
            {"strength": float("nan")},
            {"momentum": -0.1},
            {"momentum": float("inf")},
        ],
    )
    def test_an_attack_refuses_values_out_of_range(self, options: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match="attack: "):
            Attack(**options)

    def test_an_attack_takes_the_values_at_the_ends_of_their_ranges(self) -> None:
        for options in ({"every": 1}, {"strength": 0.0}, {"strength": 255.0}, {"momentum": 0.0}):
            Attack(**options)

    def test_an_attack_is_by_default_fgsm_of_twenty_255ths(self) -> None:
        """Journal 4.3.4: epsilon of 20, on the frames that stay in memory."""
        expected = Attack(every=5, strength=20.0, steps=1, momentum=0.0, attacker=None)
        assert Attack() == expected


START = torch.rand(2, 3, 4, 2, generator=torch.Generator().manual_seed(0)).softmax(dim=1)[:, 1:]
Operation = Callable[[Tensor], Tensor]


@pytest.mark.parametrize(
    "operation_on",
    [
        lambda clips: within(START[clips], 0.2),
        lambda clips: partial(with_momentum(0.5), START[clips]),
        lambda clips: of_length(0.25),
        lambda clips: admissible,
        lambda clips: with_background,
    ],
    ids=["within", "with_momentum", "of_length", "admissible", "with_background"],
)
def test_two_clips_of_a_batch_are_treated_each_as_if_it_were_alone(
    operation_on: Callable[[slice], Operation],
) -> None:
    """As many clips as objects and columns, so that no mistaken shape is refused."""
    objects = torch.stack([torch.rand(2, 4, 2), 100 * torch.rand(2, 4, 2)])
    together = operation_on(slice(None))(objects)
    for clip in (slice(0, 1), slice(1, 2)):
        torch.testing.assert_close(together[clip], operation_on(clip)(objects[clip]))


def test_a_direction_without_a_gradient_is_the_one_before_decayed() -> None:
    before = torch.rand(1, 2, 4, 6)
    direction = with_momentum(0.5)(before, torch.zeros(1, 2, 4, 6))
    torch.testing.assert_close(direction, 0.5 * before)


Pair = tuple[float, float]


class TestWithin:
    def test_a_projection_of_no_radius_gives_back_objects_that_leave_no_background(self) -> None:
        start = torch.zeros(1, 2, 4, 4)
        start[:, 0, :2], start[:, 1, 2:] = 1, 1
        assert torch.equal(within(start, 0.0)(torch.rand(1, 2, 4, 4)), start)

    def test_a_projection_of_a_radius_of_zero_gives_back_the_start_bit_for_bit(self) -> None:
        start = torch.rand(1, 6, 8, 8).softmax(dim=1)[:, 1:]
        assert torch.equal(within(start, 0.0)(torch.rand(1, 5, 8, 8)), start)

    def test_a_projection_leaves_admissible_objects_alone(self) -> None:
        start = torch.full((1, 2, 4, 4), 0.3)
        near = start + 0.05 * torch.rand(1, 2, 4, 4)
        torch.testing.assert_close(within(start, 0.1)(near), near)

    @pytest.mark.parametrize(
        ("start", "radius", "objects", "expected"),
        [
            ((1.0, 0.0), 0.2, (1.2, 0.2), (0.9, 0.1)),  # what is above 1 claims no share
            ((0.99, 0.01), 0.01, (1.0, 1.0), (0.99, 0.01)),
        ],
    )
    def test_a_projection_shares_out_what_the_radius_leaves(
        self, start: Pair, radius: float, objects: Pair, expected: Pair
    ) -> None:
        first, raised, shared = (
            torch.tensor(each).view(1, 2, 1, 1) for each in (start, objects, expected)
        )
        torch.testing.assert_close(within(first, radius)(raised), shared)

    @pytest.mark.parametrize("radius", [0.01, 0.08, 0.5, 1.0])
    def test_a_projection_gives_admissible_objects_no_further_than_the_radius(
        self, radius: float
    ) -> None:
        """One object sure, many others raised: sharing out what is too much must not take the
        first one out of the radius."""
        sure = torch.zeros(1, 8, 4, 4)
        sure[:, 0] = 1
        for start in (sure, torch.rand(1, 9, 4, 4).softmax(dim=1)[:, 1:]):
            for objects in (start + 1, start - 1, start + torch.randn_like(start)):
                found = within(start, radius)(objects)
                assert (found - start).abs().max() <= radius + 1e-6
                assert found.amin() >= 0
                assert found.sum(dim=1).amax() <= 1 + 1e-6
