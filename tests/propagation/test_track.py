"""The state of one video: advanced, kept, put back, and made again from its frames."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import TINY, ColourSegmenter, Scene, scene
from tests.propagation.test_frame_loop import truth_of
from vostool.model.stm import Stm
from vostool.propagation.correction import GradientCorrection
from vostool.propagation.frame_loop import Track, propagate, replay
from vostool.propagation.frames import Annotation
from vostool.propagation.group import FrameLoop
from vostool.propagation.references import REFERENCE_SETS, References

CAPACITY = 3
Loop = FrameLoop[Any, Any]


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def two() -> Scene:
    return scene(16, two=True)


@pytest.fixture
def annotations(two: Scene) -> dict[int, Annotation]:
    """Object 1 from the start, objects 2 and 5 late, and corrections of each on the way."""
    late = Annotation((5, 2), torch.cat([0 * two.masks[4][:, 2:], two.masks[4][:, 2:]], dim=1))
    late.objects[:, 0, 40:, :8] = 1
    return {
        0: truth_of(two, 0, 1),
        4: late,
        7: truth_of(two, 7, 1),
        9: truth_of(two, 9, 2),
        11: truth_of(two, 11, 1, 2),
    }


@pytest.fixture
def loop(network: Stm) -> Loop:
    """A real network, which remembers fewer frames than it is shown."""
    limited = copy.deepcopy(network).requires_grad_(False)
    limited.memory_frames = CAPACITY
    return FrameLoop(limited, References(every=2), memory_frames=CAPACITY)


def follow(
    track: Track[Any, Any], images: Tensor, annotations: dict[int, Annotation], start: int = 0
) -> Iterator[tuple[Track[Any, Any], Tensor]]:
    """Yield the track after each frame from `start` on, and the frame's masks."""
    for index in range(start, len(images)):
        track, prediction = track.advance(images[index], annotations.get(index))
        yield track, prediction.masks


def test_advancing_frame_by_frame_is_what_propagate_does(
    two: Scene, annotations: dict[int, Annotation], loop: Loop
) -> None:
    whole = propagate(two.images, annotations, loop.segmenter, loop.references)
    steps = follow(Track(loop), two.images, annotations)
    for prediction, (track, masks) in zip(whole, steps, strict=True):
        assert torch.equal(prediction.masks, masks)
        assert track.prediction is not None
        assert track.prediction.masks is masks


def test_a_track_that_was_kept_goes_on_as_if_nothing_had_come_after_it(
    two: Scene, annotations: dict[int, Annotation], loop: Loop
) -> None:
    tracks, masks = zip(*follow(Track(loop), two.images, annotations), strict=True)
    kept = tracks[5]
    list(follow(kept, two.images.flip(-1), {}, start=6))  # another way on, without effect
    for (_, again), first in zip(
        follow(kept, two.images, annotations, start=6), masks[6:], strict=True
    ):
        assert torch.equal(again, first)


@pytest.mark.parametrize(
    ("frame", "name", "memory_only"),
    [
        *((frame, "memory", None) for frame in (0, 4, 5, 9)),
        *((12, name, None) for name in REFERENCE_SETS),
        *((12, "memory", memory_only) for memory_only in (False, True)),
    ],
)
def test_a_replayed_track_goes_on_bit_for_bit(
    frame: int,
    memory_only: bool | None,
    name: str,
    two: Scene,
    annotations: dict[int, Annotation],
    loop: Loop,
) -> None:
    """Full memories, late objects, annotated frames and corrected masks."""
    correction = None
    if memory_only is not None:
        correction = GradientCorrection(3, steps=1, length=0.05, memory_only=memory_only)
    loop = FrameLoop(loop.segmenter, REFERENCE_SETS[name], correction, CAPACITY)
    tracks, masks = zip(*follow(Track(loop), two.images, annotations), strict=True)
    again = replay(loop, tracks[frame].frames)
    assert [each.index for each in again.frames] == [each.index for each in tracks[frame].frames]
    rest = follow(again, two.images, annotations, start=frame + 1)
    for (_, found), expected in zip(rest, masks[frame + 1 :], strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("memory", ["stm", "kmn"])
def test_every_memory_that_is_made_of_frames_can_be_replayed(
    memory: str, two: Scene, annotations: dict[int, Annotation]
) -> None:
    torch.manual_seed(0)
    settings = TINY.model_copy(update={"memory": memory, "keys": "shared", "top_k": 20})
    network = Stm(settings, memory_frames=CAPACITY).eval()
    loop = FrameLoop(network, References(every=2), memory_frames=CAPACITY)
    tracks, masks = zip(*follow(Track(loop), two.images, annotations), strict=True)
    rest = follow(replay(loop, tracks[12].frames), two.images, annotations, start=13)
    for (_, found), expected in zip(rest, masks[13:], strict=True):
        assert torch.equal(found, expected)


def indices(loop: Loop, images: Tensor, annotations: dict[int, Annotation]) -> list[int]:
    *_, (track, _) = follow(Track(loop), images, annotations)
    return [frame.index for frame in track.frames]


def test_the_history_holds_the_first_frame_the_latest_that_stay_and_the_previous_one(
    two: Scene,
) -> None:
    loop = FrameLoop(ColourSegmenter(), References(every=5), memory_frames=2)
    assert indices(loop, two.images[:15], {0: truth_of(two, 0, 1)}) == [0, 5, 10, 14]


def test_the_history_does_not_grow_and_keeps_where_objects_entered(two: Scene) -> None:
    loop = FrameLoop(ColourSegmenter(), References(every=None), memory_frames=2)
    annotations = {frame: truth_of(two, frame, 1, 2) for frame in range(7, 16, 2)}
    annotations[0] = truth_of(two, 0, 1)
    assert indices(loop, two.images, annotations) == [0, 7, 11, 13, 15]


def test_frames_before_the_first_object_are_not_held(two: Scene) -> None:
    loop = FrameLoop(ColourSegmenter(), References(every=1))
    assert indices(loop, two.images[:6], {3: truth_of(two, 3, 1)}) == [3, 4, 5]


def absent_at(absent: dict[int, tuple[int, ...]], loop: Loop, two: Scene) -> list[Track[Any, Any]]:
    """Return the tracks of a video with objects 1 and 2 in groups of their own."""
    tracks, track = [], Track(loop)
    annotations = {0: truth_of(two, 0, 1), 3: truth_of(two, 3, 2)}
    for index, image in enumerate(two.images):
        track, _ = track.advance(image, annotations.get(index), absent=absent.get(index, ()))
        tracks.append(track)
    return tracks


def masks_of(track: Track[Any, Any]) -> Tensor:
    assert track.prediction is not None
    return track.prediction.masks


def test_an_absent_object_has_no_mask_and_the_masks_still_sum_to_one(
    two: Scene, loop: Loop
) -> None:
    masks = masks_of(absent_at({6: (2,)}, loop, two)[6])
    assert masks[:, 1].any()
    assert not masks[:, 2].any()
    assert torch.allclose(masks.sum(dim=1), torch.ones(()))


def test_a_frame_on_which_an_object_is_absent_is_no_part_of_its_memory(
    two: Scene, loop: Loop
) -> None:
    stretch: dict[int, tuple[int, ...]] = {frame: (2,) for frame in range(6, 12)}
    kept, gone = absent_at({}, loop, two)[6], absent_at(stretch, loop, two)[12]
    first, second = gone.groups
    assert len(loop_frames(first.bank)) == CAPACITY
    assert torch.equal(loop_frames(second.recent)[-1], loop_frames(kept.groups[1].bank)[-1])


def loop_frames(memory: Any) -> tuple[Tensor, ...]:
    """Return the keys that a memory of the network holds, one for each frame."""
    return tuple(memory.frames.keys)


def test_an_absent_object_is_not_corrected(two: Scene, loop: Loop) -> None:
    correction = GradientCorrection(1, steps=1, length=0.2)
    loop = FrameLoop(loop.segmenter, loop.references, correction, CAPACITY)
    tracks = absent_at({6: (2,), 7: (1, 2)}, loop, two)
    assert not masks_of(tracks[6])[:, 2].any()
    assert not masks_of(tracks[7])[:, 1:].any()
    prediction = tracks[6].prediction
    assert prediction is not None
    assert prediction.uncorrected is not None


@pytest.mark.parametrize("name", REFERENCE_SETS)
@pytest.mark.parametrize("frame", [6, 9, 12, 14])
def test_a_track_with_absent_objects_is_replayed_bit_for_bit(
    two: Scene, loop: Loop, frame: int, name: str
) -> None:
    absent: dict[int, tuple[int, ...]] = {each: (2,) for each in range(5, 11)}
    absent |= {12: (1, 2), 13: (1,)}
    loop = FrameLoop(loop.segmenter, REFERENCE_SETS[name], None, CAPACITY)
    tracks = absent_at(absent, loop, two)
    track = replay(loop, tracks[frame].frames)
    for index in range(frame + 1, len(two.images)):
        track, prediction = track.advance(two.images[index], absent=absent.get(index, ()))
        assert torch.equal(prediction.masks, masks_of(tracks[index]))
