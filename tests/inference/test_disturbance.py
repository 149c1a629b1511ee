"""A disturbed memory in a run over a video: what is read ahead, what is refused."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import vostool
from tests.conftest import FRAMES, HEIGHT, ColourMemory, ColourNetwork, ColourSegmenter, Footage
from vostool.errors import UsageError
from vostool.evaluate.metrics import jaccard
from vostool.inference.disturbance import KnownObjects, MemoryDisturbance
from vostool.inference.oom import LimitChange
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.tracker import Tracker
from vostool.inference.video import Stopwatch, predict
from vostool.media.frame import Frame
from vostool.media.labels import LabelMap
from vostool.media.video import probe, read_frames
from vostool.propagation.frames import Prediction
from vostool.propagation.references import References
from vostool.segment.job import Job
from vostool.segment.run import segment

CPU = torch.device("cpu")
ATTACK = MemoryDisturbance("fgsm", every=2, strength=100.0)


def model_of(network: Any, disturbance: MemoryDisturbance | None, **more: Any) -> Predictor:
    more = {"size": HEIGHT, "references": References(every=2), "disturbance": disturbance, **more}
    return Predictor(network, None, CPU, torch.float32, **more)


def known_in(video: Footage) -> KnownObjects:
    def objects(frame: Frame) -> LabelMap:
        return video.labels[frame.index]

    return objects


def run(
    model: Predictor, video: Footage, known: KnownObjects | None, start: int = 0
) -> tuple[list[Prediction[Any]], list[LimitChange]]:
    tracker = Tracker(predictor=model)
    given = GivenMasks({start: video.labels[start]}, probe(video.path))
    frames = read_frames(video.path, start)
    found = predict(frames, given, tracker, Stopwatch(), known)
    return [prediction for _, prediction in found], tracker.lowered


def disturbed_in(predictions: list[Prediction[Any]]) -> list[int]:
    return [index for index, each in enumerate(predictions) if each.staying is not None]


@pytest.mark.parametrize(("start", "disturbed"), [(0, [2, 4, 6]), (1, [2, 4])])
def test_frames_are_counted_from_the_first_of_the_run(
    start: int, disturbed: list[int], video: Footage
) -> None:
    predictions, _ = run(model_of(ColourSegmenter(), ATTACK), video, known_in(video), start)
    assert disturbed_in(predictions) == disturbed


def test_an_attack_is_shown_the_truth_of_the_frames_to_come_and_no_further(
    video: Footage,
) -> None:
    asked: list[int] = []

    def known(frame: Frame) -> LabelMap:
        asked.append(frame.index)
        return video.labels[frame.index]

    run(model_of(ColourSegmenter(), MemoryDisturbance("fgsm", every=2)), video, known)
    assert asked == [2, 3, 4, 4, 5, 6, 6, 7]


def test_boxes_of_predicted_masks_hold_them(video: Footage) -> None:
    predictions, _ = run(model_of(ColourSegmenter(), MemoryDisturbance("box", 2)), video, None)
    boxed = predictions[4].staying
    assert boxed is not None
    assert set(boxed.unique().tolist()) == {0.0, 1.0}
    assert jaccard(boxed[0, 1].numpy() > 0, video.labels[4] > 0) > 0.9


@pytest.mark.parametrize("kind", ["masks", "fgsm", "mi-fgsm"])
def test_a_disturbance_that_must_know_the_objects_is_refused_without(
    kind: str, video: Footage, tmp_path: Path
) -> None:
    model = model_of(ColourNetwork(), MemoryDisturbance(kind, masks=tmp_path))
    with pytest.raises(UsageError, match=f"--disturb {kind}: needs frames whose objects are known"):
        run(model, video, None)
    with pytest.raises(UsageError, match=f"--disturb {kind}: needs frames"):
        vostool.follow(video.path, {0: video.mask}, predictor=model)
    job = Job(video.path, (str(video.mask),), tmp_path / "out")
    with pytest.raises(UsageError, match=f"--disturb {kind}: needs frames"):
        segment(job, model)
    assert not job.output.exists()


def test_a_tracker_which_sees_one_frame_at_a_time_refuses_a_disturbance(video: Footage) -> None:
    model = model_of(ColourNetwork(), MemoryDisturbance("box"))
    (frame, *_) = read_frames(video.path)
    with pytest.raises(UsageError, match="disturb: expected a whole video"):
        vostool.Tracker(predictor=model).step(frame.rgb, video.mask)


def test_segment_disturbs_by_boxes_and_says_so(video: Footage, tmp_path: Path) -> None:
    model = model_of(ColourNetwork(), MemoryDisturbance("box", 2))
    job = Job(video.path, (str(video.mask),), tmp_path / "out", outputs=("masks",))
    segment(job, model)
    report = json.loads((tmp_path / "out" / "run.json").read_text())
    assert report["options"]["disturbance"] == {"kind": "box", "every": 2}


@dataclass
class Tight(ColourSegmenter):
    """A model that has no room for gradients at its full size, as an attack needs them."""

    pixels: list[int] = field(default_factory=list)  # of what an attack memorised

    def memorize(
        self,
        features: Tensor,
        masks: Tensor,
        memory: ColourMemory | None = None,
        annotated: bool = False,
    ) -> ColourMemory:
        if torch.is_grad_enabled():
            height, width = masks.shape[2:]
            self.pixels.append(height * width)
            if height > 100:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().memorize(features, masks, memory)


def test_an_attack_that_runs_out_of_memory_goes_on_at_a_smaller_size(video: Footage) -> None:
    network = Tight()
    predictions, lowered = run(model_of(network, ATTACK, size=130), video, known_in(video))
    assert [step.frame for step in lowered] == [2]
    assert lowered[0].limits.size == 97
    assert disturbed_in(predictions) == [2, 4, 6]
    heights = [prediction.masks.shape[2] for prediction in predictions]
    assert heights == [130, 130, *[97] * 6]


def test_a_frame_that_is_disturbed_keeps_its_masks_when_memory_runs_out_after_it(
    video: Footage,
) -> None:
    """The latest frame is made again by both of its masks."""

    @dataclass
    class Late(ColourSegmenter):
        memorized: list[Tensor] = field(default_factory=list)
        frames: int = 0

        def encode(self, image: Tensor) -> Tensor:
            self.frames += 1
            if self.frames == 4:  # the one after the first disturbed frame
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return super().encode(image)

        def memorize(
            self,
            features: Tensor,
            masks: Tensor,
            memory: ColourMemory | None = None,
            annotated: bool = False,
        ) -> ColourMemory:
            self.memorized.append(masks)
            return super().memorize(features, masks, memory)

    network = Late()
    disturbance = MemoryDisturbance("box", every=2)
    blank = [labels * 0 for labels in video.labels]

    def known(frame: Frame) -> LabelMap:
        return blank[frame.index]

    predictions, lowered = run(model_of(network, disturbance, size=130), video, known)
    assert [step.frame for step in lowered] == [3]
    assert disturbed_in(predictions) == [2, 4, 6]
    again = [masks for masks in network.memorized if masks.shape[2] == 97]
    empty = [not masks[:, 1:].any() for masks in again]
    assert empty[:4] == [False, True, False, False], "frame 0; frame 2 to stay, and until the next"


def test_without_a_disturbance_nothing_is_read_ahead(video: Footage) -> None:
    taken: list[int] = []

    def frames() -> Iterator[Frame]:
        for frame in read_frames(video.path):
            taken.append(frame.index)
            yield frame

    assert model_of(ColourSegmenter(), None).loop.look_ahead == 0
    given = GivenMasks({0: video.labels[0]}, probe(video.path))
    plain = model_of(ColourSegmenter(), None)
    for _, prediction in predict(frames(), given, Tracker(predictor=plain), Stopwatch()):
        assert prediction.staying is None
    assert taken == list(range(FRAMES))
