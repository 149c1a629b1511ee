from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import ARRIVAL, ColourSegmenter, Scene, scene
from vostool.model.interface import Segmenter
from vostool.model.memory import StackedMemory
from vostool.model.stm import Stm, StmMemory
from vostool.propagation.correction import Goal, GradientCorrection, with_background
from vostool.propagation.disturbance import Boxes
from vostool.propagation.frame_loop import Track, overwrite, propagate, replay, without
from vostool.propagation.frames import Annotation, Prediction
from vostool.propagation.group import FrameLoop
from vostool.propagation.references import EVERY_FRAME, REFERENCE_SETS, References

Shape = tuple[int, int]
Seen = tuple[int, Tensor]  # a frame's number, and the masks it was remembered with


@dataclass
class Recorder:
    """Remembers frame numbers, finds nothing new, and takes down what it is asked to do.

    An image holds its own frame number.
    """

    stride: int = 1
    memorized: list[int] = field(default_factory=list)
    annotated: list[bool] = field(default_factory=list)
    reads: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    memories: list[tuple[Seen, ...]] = field(default_factory=list)

    def encode(self, image: Tensor) -> int:
        return int(image.flatten()[0])

    def memorize(
        self,
        features: int,
        masks: Tensor,
        memory: tuple[Seen, ...] | None = None,
        annotated: bool = False,
    ) -> tuple[Seen, ...]:
        self.annotated.append(annotated)
        self.memorized.append(features)
        return (*(memory or ()), (features, masks))

    def segment(self, features: int, memory: tuple[Seen, ...]) -> Tensor:
        self.reads.append((features, tuple(frame for frame, _ in memory)))
        self.memories.append(memory)
        return torch.zeros_like(memory[0][1][:, 1:])


def numbered(count: int) -> list[Tensor]:
    """Return images that hold their number."""
    return [torch.full((1, 3, 4, 6), float(index)) for index in range(count)]


def square(id_: int, row: int = 0) -> Annotation:
    """Return an annotation of one object of 2 x 2 pixels."""
    objects = torch.zeros(1, 1, 4, 6)
    objects[:, :, row : row + 2, :2] = 1
    return Annotation((id_,), objects)


def run(
    count: int, annotations: Mapping[int, Annotation], remember_every: int = 5
) -> tuple[Recorder, list[Prediction[int]]]:
    recorder = Recorder()
    seen = list(propagate(numbered(count), annotations, recorder, References(every=remember_every)))
    return recorder, seen


def truth_of(clip: Scene, frame: int, *ids: int) -> Annotation:
    return Annotation(ids, clip.masks[frame][:, list(ids)])


def j_of(predicted: Tensor, truth: Tensor) -> float:
    """Return the region similarity of two soft masks."""
    a, b = predicted > 0.5, truth > 0.5
    return ((a & b).sum() / (a | b).sum()).item()


class TestWhatIsRead:
    @pytest.mark.parametrize("every", [1, 3, 5, 20])
    def test_is_the_first_frame_every_kth_and_the_previous(self, every: int) -> None:
        recorder, _ = run(14, {0: square(1)}, every)
        assert recorder.reads == [
            (frame, tuple(sorted({*range(0, frame, every), frame - 1}))) for frame in range(1, 14)
        ]

    @pytest.mark.parametrize(
        ("name", "frames"),
        [
            ("first", [(0,), (0,), (0,), (0,), (0,), (0,), (0,)]),
            ("previous", [(0,), (1,), (2,), (3,), (4,), (5,), (6,)]),
            ("first+previous", [(0,), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (0, 6)]),
            ("memory", [(0,), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (0, 5, 6)]),
        ],
    )
    def test_is_one_of_the_reference_sets_of_table_3(
        self, name: str, frames: list[tuple[int, ...]]
    ) -> None:
        recorder = Recorder()
        list(propagate(numbered(8), {0: square(1)}, recorder, REFERENCE_SETS[name]))
        assert [read for _, read in recorder.reads] == frames

    def test_starts_for_a_late_object_with_the_frame_it_was_shown_on(self) -> None:
        recorder, _ = run(13, {0: square(1), 3: square(2, row=2)})
        late = [frames for _, frames in recorder.reads if frames[0] == 3]
        assert late == [
            tuple(sorted({3, *(kept for kept in (5, 10) if kept < frame), frame - 1}))
            for frame in range(4, 13)
        ]

    def test_includes_frames_annotated_on_the_way(self) -> None:
        recorder, _ = run(10, {0: square(1), 3: square(1, row=2)})
        assert recorder.reads[-1] == (9, (0, 3, 5, 8))

    @pytest.mark.parametrize("name", ["first", "first+previous"])
    def test_leaves_out_frames_on_which_only_other_objects_are_annotated(self, name: str) -> None:
        recorder, annotations = Recorder(), {0: square(1), 3: square(2, row=2), 5: square(2, row=2)}
        list(propagate(numbered(8), annotations, recorder, REFERENCE_SETS[name]))
        previous = () if name == "first" else (6,)
        assert [frames for frame, frames in recorder.reads if frame == 7] == [
            (0, *previous),
            (3, 5, *previous),
        ]

    def test_includes_frames_on_which_some_objects_of_the_group_are_annotated(self) -> None:
        both = Annotation((1, 2), torch.cat([square(1).objects, square(2, row=2).objects], dim=1))
        recorder, _ = run(6, {0: both, 3: square(1)}, remember_every=100)
        assert recorder.reads[-1] == (5, (0, 3, 4))

    def test_is_the_truth_where_there_is_one(self) -> None:
        given = square(1)
        memories: list[tuple[Seen, ...]] = []

        class Keeping(Recorder):
            def segment(self, features: int, memory: tuple[Seen, ...]) -> Tensor:
                memories.append(memory)
                return super().segment(features, memory)

        list(propagate(numbered(3), {0: given}, Keeping()))
        assert all(torch.equal(memory[0][1][:, 1:], given.objects) for memory in memories)


class TestWhatIsRemembered:
    def test_is_never_a_frame_that_nobody_reads(self) -> None:
        recorder, _ = run(7, {0: square(1)})
        assert recorder.memorized == list(range(6))

    def test_is_not_encoded_before_another_frame_asks(self) -> None:
        recorder = Recorder()
        frames = propagate(numbered(5), {0: square(1)}, recorder)
        for index in range(5):
            next(frames)
            assert recorder.memorized == list(range(index))

    def test_is_nothing_before_there_is_an_object(self) -> None:
        recorder, _ = run(6, {4: square(1)})
        assert recorder.memorized == [4]
        assert recorder.reads == [(5, (4,))]

    def test_of_a_group_are_its_own_masks_with_the_background_of_all(self) -> None:
        remembered: list[Tensor] = []

        class Keeping(Recorder):
            def memorize(
                self,
                features: int,
                masks: Tensor,
                memory: tuple[Seen, ...] | None = None,
                annotated: bool = False,
            ) -> tuple[Seen, ...]:
                remembered.append(masks)
                return super().memorize(features, masks, memory)

        frames = propagate(numbered(4), {0: square(1), 2: square(2, row=2)}, Keeping())
        seen = list(frames)[2]
        for masks, channel in zip(remembered[2:4], (1, 2), strict=True):
            assert torch.equal(masks, seen.masks[:, [0, channel]])

    def test_is_the_truth_only_if_all_objects_of_the_group_are_annotated(self) -> None:
        """The memory keeps what is the truth; predictions of old must not stay in its place."""
        both = Annotation((1, 2), torch.cat([square(1).objects, square(2, row=2).objects], dim=1))
        annotations = {0: both, 2: square(3, row=1), 3: square(1), 4: both}
        recorder, _ = run(6, annotations)
        told = [*zip(recorder.memorized, recorder.annotated, strict=True)]
        assert told == [
            (0, True),
            (1, False),
            (2, False),  # where object 3 enters is the truth for that one alone
            (2, True),
            (3, False),  # object 2 is not annotated there
            (3, False),
            (4, True),
            (4, False),
        ]


def test_eight_late_objects_do_not_fill_the_memory_of_the_first(network: Stm) -> None:
    network.memory_frames = 8
    images = [torch.rand(1, 3, 32, 48) for _ in range(30)]

    def box(id_: int) -> Annotation:
        objects = torch.zeros(1, 1, 32, 48)
        objects[:, :, :, 4 * id_ : 4 * id_ + 4] = 1
        return Annotation((id_,), objects)

    annotations = {0: box(1)} | {frame: box(frame + 1) for frame in range(1, 9)}
    track = Track(FrameLoop(network, References(every=5), memory_frames=8))
    with torch.no_grad():
        for index, image in enumerate(images):
            track, _ = track.advance(image, annotations.get(index))
    memory = track.groups[0].bank
    assert isinstance(memory, StmMemory)
    bank = memory.frames
    assert isinstance(bank, StackedMemory)
    assert bank.annotated == (True, *[False] * 5), "frame 0, and frames 5 to 25"


class TestStreaming:
    def test_takes_one_image_for_each_prediction(self) -> None:
        taken: list[int] = []

        def images() -> Iterator[Tensor]:
            for index, image in enumerate(numbered(5)):
                taken.append(index)
                yield image

        frames = propagate(images(), {0: square(1)}, Recorder())
        for index in range(5):
            next(frames)
            assert taken == list(range(index + 1))

    def test_of_nothing_is_nothing(self) -> None:
        assert list(propagate([], {0: square(1)}, Recorder())) == []

    def test_hands_out_what_was_seen_of_each_frame(self) -> None:
        _, seen = run(4, {0: square(1)})
        assert [prediction.features for prediction in seen] == [0, 1, 2, 3]


class TestAnnotations:
    def test_are_the_result_of_their_frame(self) -> None:
        given = square(3)
        _, seen = run(2, {0: given})
        assert seen[0].ids == (3,)
        assert torch.equal(seen[0].masks[:, 1:], given.objects)
        assert torch.equal(seen[0].masks[:, 0], 1 - given.objects[:, 0])

    def test_before_the_first_all_is_background(self) -> None:
        _, seen = run(4, {2: square(1)})
        for prediction in seen[:2]:
            assert prediction.ids == ()
            assert torch.equal(prediction.masks, torch.ones(1, 1, 4, 6))
        assert seen[2].ids == seen[3].ids == (1,)

    def test_that_come_late_join_and_keep_ids_and_order(self) -> None:
        _, seen = run(8, {0: square(7), 2: square(3, row=2), 5: square(5, row=1)})
        ids = [prediction.ids for prediction in seen]
        assert ids == [(7,), (7,), (7, 3), (7, 3), (7, 3), *[(7, 3, 5)] * 3]
        for prediction in seen:
            assert prediction.masks.shape[1] == len(prediction.ids) + 1
            torch.testing.assert_close(prediction.masks.sum(dim=1), torch.ones(1, 4, 6))

    def test_put_the_other_objects_to_zero_where_they_are(self) -> None:
        _, seen = run(3, {0: square(1), 2: square(2, row=1)})
        first, second = seen[2].masks[0, 1:]
        there = square(2, row=1).objects[0, 0] > 0
        assert (first[there] == 0).all()
        assert torch.equal(second, there.float())
        # elsewhere object 1 stays as the segmenter, which knows nothing, has left it
        assert (first[~there] == 0.5).all()

    def test_of_an_object_followed_already_correct_it_in_its_place(self) -> None:
        correction = square(1, row=2)
        _, seen = run(5, {0: Annotation((1, 2), torch.cat(
            [square(1).objects, square(2, row=2).objects], dim=1)), 3: correction})  # fmt: skip
        assert [prediction.ids for prediction in seen] == [(1, 2)] * 5
        assert torch.equal(seen[3].masks[:, 1], correction.objects[:, 0])

    def test_may_correct_one_object_and_bring_another_on_the_same_frame(self) -> None:
        both = Annotation((9, 1), torch.cat([square(9).objects, square(1, row=2).objects], dim=1))
        recorder, seen = run(5, {0: square(1), 2: both})
        assert seen[2].ids == seen[4].ids == (1, 9)
        assert torch.equal(seen[2].masks[:, 1], both.objects[:, 1])
        assert torch.equal(seen[2].masks[:, 2], both.objects[:, 0])
        assert (4, (0, 2, 3)) in recorder.reads
        assert (4, (2, 3)) in recorder.reads


class TestByColour:
    def test_the_square_is_followed(self, clip: Scene) -> None:
        frames = propagate(clip.images, {0: truth_of(clip, 0, 1)}, ColourSegmenter())
        for seen, truth in zip(frames, clip.masks, strict=True):
            assert j_of(seen.masks[:, 1], truth[:, 1]) == 1

    def test_a_late_square_is_followed_beside_the_first(self) -> None:
        two = scene(two=True)
        truth = {0: truth_of(two, 0, 1), ARRIVAL: truth_of(two, ARRIVAL, 2)}
        for index, seen in enumerate(propagate(two.images, truth, ColourSegmenter())):
            for channel, id_ in enumerate(seen.ids, start=1):
                if index >= ARRIVAL:
                    assert j_of(seen.masks[:, channel], two.masks[index][:, id_]) == 1

    def test_a_wrong_start_is_mended_by_a_later_mask(self, clip: Scene) -> None:
        wrong = Annotation((1,), clip.masks[0][:, 1:].roll(20, dims=3))
        truth = {0: wrong, 4: truth_of(clip, 4, 1)}
        seen = list(propagate(clip.images, truth, ColourSegmenter(), References(every=1)))
        assert j_of(seen[3].masks[:, 1], clip.masks[3][:, 1]) < 0.5
        assert j_of(seen[5].masks[:, 1], clip.masks[5][:, 1]) > 0.9

    def test_training_can_go_back_to_the_first_masks(self, clip: Scene) -> None:
        objects = clip.masks[0][:, 1:].clone().requires_grad_()
        annotations = {0: Annotation((1,), objects)}
        *_, last = propagate(clip.images, annotations, ColourSegmenter(), References(every=1))
        (gradient,) = torch.autograd.grad(last.masks[:, 1].sum(), objects)
        assert gradient.abs().sum() > 0


class OneTensor(ColourSegmenter):
    """Like its parent, with a tensor for its memory: the newest frame replaces the others."""

    def memorize(  # type: ignore[override]
        self, features: Tensor, masks: Tensor, memory: object = None, annotated: bool = False
    ) -> Tensor:
        return super().memorize(features, masks)[0]

    def segment(self, features: Tensor, memory: Tensor) -> Tensor:  # type: ignore[override]
        return super().segment(features, (memory,))


def test_a_memory_may_be_of_any_type(clip: Scene) -> None:
    annotations = {0: truth_of(clip, 0, 1)}
    *_, last = propagate(clip.images, annotations, OneTensor())
    assert j_of(last.masks[:, 1], clip.masks[-1][:, 1]) == 1


@dataclass(frozen=True)
class Asked(GradientCorrection):
    """Takes down what it is asked to correct, and makes all of it background."""

    goals: list[list[Goal[Tensor]]] = field(default_factory=list)

    def __call__(  # type: ignore[override]
        self,
        segmenter: Segmenter[Tensor, object],
        features: Tensor,
        masks: Tensor,
        goals: list[Goal[Tensor]],
    ) -> Tensor:
        self.goals.append(goals)
        return torch.cat([torch.ones_like(masks[:, :1]), torch.zeros_like(masks[:, 1:])], dim=1)


class TestCorrection:
    def test_is_for_every_kth_frame_that_is_not_annotated(self, clip: Scene) -> None:
        truth = {0: truth_of(clip, 0, 1), 4: truth_of(clip, 4, 1)}
        correction = Asked(every=2)
        seen = list(propagate(clip.images, truth, ColourSegmenter(), correction=correction))
        assert [i for i, each in enumerate(seen) if each.uncorrected is not None] == [2, 6]
        assert len(correction.goals) == 2

    def test_gives_an_object_that_is_absent_nothing_beside_another_of_its_group(self) -> None:
        class Generous(GradientCorrection):
            def __call__(self, *arguments: object, **more: object) -> Tensor:
                return with_background(torch.full_like(two.masks[0][:, 1:], 0.4))

        two = scene(two=True)
        track = Track(FrameLoop(ColourSegmenter(), correction=Generous(every=1)))
        track, _ = track.advance(two.images[3], truth_of(two, 3, 1, 2))
        track, prediction = track.advance(two.images[4], absent=(2,))
        assert prediction.masks[:, 1].unique().item() == pytest.approx(0.4)
        assert not prediction.masks[:, 2].any()

    def test_goes_toward_the_frame_that_each_group_was_annotated_on(self) -> None:
        two = scene(two=True)
        truth = {0: truth_of(two, 0, 1), ARRIVAL: truth_of(two, ARRIVAL, 2)}
        correction = Asked(every=5)
        list(propagate(two.images, truth, ColourSegmenter(), correction=correction))
        ((first, late),) = correction.goals
        assert (first.channels, late.channels) == ((0, 1), (0, 2))
        assert torch.equal(first.reference.features, two.images[0])
        assert torch.equal(late.reference.features, two.images[ARRIVAL])
        assert torch.equal(first.reference.masks, two.masks[0][:, :2])
        # where the first object is on that frame, the second one is not
        joined = two.masks[ARRIVAL]
        assert torch.equal(late.reference.masks[:, 0], joined[:, 0] + joined[:, 1])
        assert torch.equal(late.reference.masks[:, 1], joined[:, 2])

    def test_goes_toward_the_latest_frame_that_shows_all_of_a_group(self) -> None:
        two = scene(two=True)
        truth = {
            3: truth_of(two, 3, 1, 2),
            5: truth_of(two, 5, 2),
            6: truth_of(two, 6, 2, 1),
        }
        correction = Asked(every=1)
        list(propagate(two.images, truth, ColourSegmenter(), correction=correction))
        frames = [goals[0].reference.features for goals in correction.goals]
        assert [torch.equal(each, two.images[3]) for each in frames] == [True, False]
        assert torch.equal(frames[1], two.images[6])
        assert torch.equal(correction.goals[1][0].reference.masks, two.masks[6])

    @pytest.mark.parametrize("memory_only", [False, True])
    def test_is_remembered_and_written_unless_for_memory_only(
        self, memory_only: bool, clip: Scene
    ) -> None:
        recorder = Recorder()
        correction = Asked(every=2, memory_only=memory_only)
        images = numbered(4)
        seen = list(propagate(images, {0: square(1)}, recorder, correction=correction))
        plain = torch.full((1, 1, 4, 6), 0.5)
        assert torch.equal(seen[2].masks[:, 1:], plain if memory_only else 0 * plain)
        assert torch.equal(seen[1].masks[:, 1:], plain)
        memory = recorder.memories[-1]
        assert [frame for frame, _ in memory] == [0, 2]
        assert torch.equal(memory[1][1][:, 1:], 0 * plain)

    @pytest.mark.parametrize("idle", [{"steps": 0}, {"rate": 0.0}])
    def test_that_moves_nothing_changes_no_bit(self, idle: dict[str, float], clip: Scene) -> None:
        correction = GradientCorrection(every=1, **idle)  # type: ignore[arg-type]
        truth = {0: truth_of(clip, 0, 1)}
        plain = propagate(clip.images, truth, ColourSegmenter())
        same = propagate(clip.images, truth, ColourSegmenter(), correction=correction)
        for a, b in zip(plain, same, strict=True):
            assert torch.equal(a.masks, b.masks)

    def test_leaves_no_trace_from_one_video_in_another(self, clip: Scene) -> None:
        two, segmenter = scene(two=True), ColourSegmenter()
        correction = GradientCorrection(every=2, rate=3e4)
        late = {0: truth_of(two, 0, 1), ARRIVAL: truth_of(two, ARRIVAL, 2)}
        videos = ((clip.images, {0: truth_of(clip, 0, 1)}), (two.images, late))
        with torch.no_grad():
            alone = [
                [seen.masks for seen in propagate(*video, segmenter, correction=correction)]
                for video in videos
            ]
            streams = (propagate(*video, segmenter, correction=correction) for video in videos)
            for index, pair in enumerate(zip(*streams, strict=True)):
                for number, seen in enumerate(pair):
                    assert torch.equal(seen.masks, alone[number][index])


def test_an_annotation_covers_what_is_predicted_and_keeps_the_places_of_the_objects() -> None:
    predicted = with_background(torch.tensor([0.25, 0.5]).view(1, 2, 1, 1).repeat(2, 1, 1, 2))
    truth = torch.zeros(2, 2, 1, 2)
    truth[0, 0, 0, 1] = truth[1, 1, 0, 0] = 1  # object 5 in the first clip, 3 in the second
    ids, masks = overwrite((3, 4), predicted, Annotation((5, 3), truth))
    assert ids == (3, 4, 5)
    first, second = masks[:, :, 0].unbind()
    assert first.tolist() == [[0.5, 0.0], [0.0, 0.0], [0.5, 0.0], [0.0, 1.0]]
    assert second.tolist() == [[0.0, 0.5], [1.0, 0.0], [0.0, 0.5], [0.0, 0.0]]


def test_what_absent_objects_take_goes_to_the_background_and_the_masks_given_stay() -> None:
    masks = with_background(torch.tensor([0.25, 0.5, 0.125]).view(1, 3, 1, 1).repeat(2, 1, 1, 1))
    before = masks.clone()
    shown = without((7, 8, 9), masks, {7, 9, 10})
    assert shown.flatten(1).tolist() == [[0.5, 0.0, 0.5, 0.0]] * 2
    assert torch.equal(masks, before)
    assert without((7, 8, 9), masks, {10}) is masks


def test_a_track_before_its_first_frame_has_none_to_replay() -> None:
    loop = FrameLoop(Recorder())
    assert Track(loop).frames == ()
    assert replay(loop, ()) == Track(loop)


def test_a_recurrent_model_has_every_frame_remembered() -> None:
    assert all(EVERY_FRAME.keep(index, annotated=False) for index in range(7))


class Keeping(ColourSegmenter):
    """A recurrent model that takes down which frames it is told to keep."""

    memory_every = 5

    def __init__(self) -> None:
        self.told: list[tuple[Tensor, bool]] = []  # a frame, and whether to keep it

    def memorize(
        self,
        features: Tensor,
        masks: Tensor,
        memory: tuple[Tensor, ...] | None = None,
        annotated: bool = False,
        keep: bool = False,
    ) -> tuple[Tensor, ...]:
        self.told.append((features, keep))
        return super().memorize(features, masks, memory, annotated)


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ({}, [0, 4]),
        ({"correction": Asked(every=3)}, [0, 3, 4, 6]),
        ({"disturbance": Boxes(every=3)}, [0, 3, 4, 6]),
    ],
    ids=["plain", "corrected", "disturbed"],
)
def test_a_recurrent_model_is_told_to_keep_what_was_given_or_changed(
    more: dict[str, Any], kept: list[int], clip: Scene
) -> None:
    model, truth = Keeping(), {0: truth_of(clip, 0, 1), 4: truth_of(clip, 4, 1)}
    images = list(clip.images[:8])
    list(propagate(images, truth, model, EVERY_FRAME, **more))
    found = [{keep for seen, keep in model.told if seen is image} for image in images[:7]]
    assert [True in keep for keep in found] == [index in kept for index in range(7)]
    assert all(found), "every frame is remembered"


def test_a_disturbance_of_every_frame_leaves_out_the_first_alone() -> None:
    loop = FrameLoop(ColourSegmenter(), EVERY_FRAME, disturbance=Boxes(every=1))
    assert [index for index in range(4) if loop.disturbs(index)] == [1, 2, 3]


def test_of_two_groups_that_share_a_frame_both_are_given_what_is_annotated() -> None:
    """A frame that annotates one group is no other frame for it, but is for the other one."""
    recorder = Recorder()
    loop = FrameLoop(recorder, memory_frames=1)
    track = Track(loop)
    annotations = {0: square(1), 1: square(2, row=2), 5: square(1), 10: square(2, row=2)}
    for index, image in enumerate(numbered(13)):
        track, _ = track.advance(image, annotations.get(index))
    found = {group.ids: group.sources(loop, track.frames) for group in track.groups}
    # the first, the latest annotated one, and the latest other one that stays
    assert found == {(1,): {0, 5, 10}, (2,): {1, 10, 5}}


def test_a_frame_on_which_a_group_is_absent_is_no_source_of_its_memory() -> None:
    loop = FrameLoop(Recorder(), memory_frames=1)
    track = Track(loop)
    for index, image in enumerate(numbered(13)):
        annotation = square(1) if index == 0 else None
        track, _ = track.advance(image, annotation, absent={1} if index == 10 else ())
    (group,) = track.groups
    assert group.sources(loop, track.frames) == {0, 5}
