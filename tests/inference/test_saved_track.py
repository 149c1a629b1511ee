"""A track that is written and read goes on as if it had never left."""

import copy
import gc
import json
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

import vostool
from tests.conftest import ARRIVAL, HEIGHT, TINY, ColourSegmenter, Picture, draw, film
from tests.model.published.making import STCN, export, small, write
from vostool.errors import InputError, OutputError, UsageError, VostoolError
from vostool.inference.oom import Limits
from vostool.inference.predictor import Predictor
from vostool.inference.saved_track import pack, read_track, unpack
from vostool.media.video import read_frames
from vostool.model.interface import Adapter
from vostool.model.stm import Stm
from vostool.propagation.correction import GradientCorrection
from vostool.propagation.references import References

CPU = torch.device("cpu")
COUNT, CUT = 14, 9  # frames, and the one after which the track is written
Shots = list[tuple[Picture, Picture]]


def predictor_of(network: Any, **more: Any) -> Predictor:
    settings = {"size": HEIGHT, "references": References(every=2), "memory_frames": 3, **more}
    return Predictor(network, None, CPU, torch.float32, **settings)


@pytest.fixture
def network(network: Stm) -> Stm:
    limited = copy.deepcopy(network).requires_grad_(False)
    limited.memory_frames = 3
    return limited


@pytest.fixture
def shots() -> Shots:
    return [draw(index % 8, two=True) for index in range(COUNT)]


def masks_of(shots: Shots) -> dict[int, Picture]:
    """Two objects that enter one after the other, and a correction of each."""
    one, two = (
        {i: np.where(labels == id_, id_, 0).astype(np.uint8) for i, (_, labels) in enumerate(shots)}
        for id_ in (1, 2)
    )
    return {0: one[0], ARRIVAL: two[ARRIVAL], 5: one[5], 7: two[7], 12: one[12]}


def steps(
    tracker: vostool.Tracker, shots: Shots, first: int = 0, last: int = COUNT
) -> Iterator[np.ndarray]:
    """Yield the soft masks of some frames."""
    for index in range(first, last):
        tracker.step(shots[index][0], masks_of(shots).get(index))
        yield tracker.soft_masks()


def pictures(shots: Shots) -> dict[int, Picture]:
    return {index: rgb for index, (rgb, _) in enumerate(shots)}


def continued(predictor: Predictor, other: Predictor, shots: Shots, path: Path) -> bool:
    """Return whether a track goes on alike, bit for bit, by another predictor from a file."""
    tracker = vostool.Tracker(predictor=predictor)
    list(steps(tracker, shots, 0, CUT))
    tracker.save(path)
    expected = list(steps(tracker, shots, CUT))
    assert not np.array_equal(expected[0], expected[-1]), "there is something to see"
    again = vostool.Tracker(predictor=other)
    again.load(path, pictures(shots))
    assert again.frames == CUT
    return all(map(np.array_equal, steps(again, shots, CUT), expected))


@pytest.mark.parametrize("memory_only", [None, False, True])
@pytest.mark.parametrize("size", [HEIGHT, 80])
def test_a_saved_track_goes_on_bit_for_bit(
    size: int, memory_only: bool | None, network: Stm, shots: Shots, tmp_path: Path
) -> None:
    """With full memories, late objects, corrected masks, and annotations before and after."""
    correction = None
    if memory_only is not None:
        correction = GradientCorrection(3, steps=1, length=0.05, memory_only=memory_only)
    one, other = (
        predictor_of(copy.deepcopy(network), correction=correction, objects_at_once=1, size=size)
        for _ in range(2)
    )
    assert continued(one, other, shots, tmp_path / "a.track")


def test_a_mean_over_more_frames_than_are_remembered_goes_on_bit_for_bit(
    shots: Shots, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = Stm(TINY.model_copy(update={"memory": "gcm"}), memory_frames=2).eval()
    one, other = (predictor_of(network, memory_frames=2) for _ in range(2))
    assert continued(one, other, shots, tmp_path / "a.track")


@dataclass(frozen=True)
class Fading:
    """A recurrent memory: the colours of all frames, the older the paler."""

    colours: Tensor

    def to_tensors(self) -> dict[str, Tensor]:
        return {"colours": self.colours}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        return replace(self, colours=tensors["colours"].to(self.colours.device))


class Recurrent(Adapter[Fading]):
    """A model of another package that carries more than some frames, and can write it."""

    def memorize(
        self,
        features: Tensor,
        masks: Tensor,
        memory: Fading | None = None,
        annotated: bool = False,
    ) -> Fading:
        (new,) = ColourSegmenter().memorize(features, masks)
        return Fading(new if memory is None else 0.9 * memory.colours + 0.1 * new)

    def segment(self, features: Tensor, memory: Fading) -> Tensor:
        return ColourSegmenter().segment(features, (memory.colours,))


def test_a_recurrent_model_that_offers_its_tensors_goes_on_bit_for_bit(
    shots: Shots, tmp_path: Path
) -> None:
    one, other = (predictor_of(Recurrent(), memory_frames=1) for _ in range(2))
    assert continued(one, other, shots, tmp_path / "a.track")
    with safe_open(tmp_path / "a.track", framework="pt") as file:
        assert {name for name in file.keys() if not name.startswith("masks.")} == {  # noqa: SIM118
            "memory.0.0.colours",
            "memory.1.0.colours",
        }


def test_a_recurrent_model_that_does_not_is_refused_and_nothing_is_written(
    shots: Shots, tmp_path: Path
) -> None:
    predictor = predictor_of(ColourSegmenter(), name="colours")
    tracker = vostool.Tracker(predictor=predictor)
    list(steps(tracker, shots, 0, 3))
    with pytest.raises(UsageError, match="--model colours: its memory cannot be written"):
        tracker.save(tmp_path / "a.track")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 64}, "size 48, now 64"),
        ({"memory_frames": 2}, "memory_frames 3, now 2"),
        ({"objects_at_once": 1}, "objects_at_once None, now 1"),
    ],
)
def test_in_other_settings_it_goes_on_and_says_so(
    change: dict[str, Any],
    words: str,
    network: Stm,
    shots: Shots,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert not caplog.messages
    continued(predictor_of(network), predictor_of(network, **change), shots, tmp_path / "a.track")
    path = tmp_path / "a.track"
    assert caplog.messages == [f"{path}: the masks that follow may differ: {words}"]


def test_the_pictures_come_from_the_video_from_its_start_on(network: Stm, tmp_path: Path) -> None:
    footage = film(tmp_path / "two.mp4", tmp_path / "two.png", two=True)
    tracker = vostool.Tracker(predictor=predictor_of(network))
    labels = {}
    for frame in read_frames(footage.path, 2):
        mask = footage.labels[2] if frame.index == 2 else None
        labels[frame.index] = tracker.step(frame.rgb, mask)
        if frame.index == 5:
            tracker.save(tmp_path / "a.track")
    again = vostool.Tracker(predictor=predictor_of(network))
    again.load(tmp_path / "a.track", footage.path, start=2)
    for frame in read_frames(footage.path, 6):
        assert (again.step(frame.rgb) == labels[frame.index]).all()
    with pytest.raises(InputError, match=r"frame 0 is not the picture it remembers"):
        again.load(tmp_path / "a.track", footage.path, start=1)
    with pytest.raises(InputError, match=r"ends before frame 8 of .*a\.track"):
        again.load(tmp_path / "a.track", footage.path, start=5)


@pytest.fixture
def saved(network: Stm, shots: Shots, tmp_path: Path) -> Path:
    tracker = vostool.Tracker(predictor=predictor_of(network))
    list(steps(tracker, shots, 0, CUT))
    tracker.save(tmp_path / "saved.track")
    return tmp_path / "saved.track"


class TestRefusals:
    def load(self, network: Stm, path: Path, pictures: Any) -> None:
        tracker = vostool.Tracker(predictor=predictor_of(network))
        tracker.load(path, pictures)

    def test_a_missing_picture_is_a_usage_error(
        self, network: Stm, shots: Shots, saved: Path
    ) -> None:
        numbers = read_track(saved).numbers
        assert numbers[0] == 0
        assert numbers[-1] == CUT - 1
        some = {number: shots[number][0] for number in numbers[:-1]}
        with pytest.raises(UsageError, match=f"frame {CUT - 1}: expected an RGB array"):
            self.load(network, saved, some)

    def test_a_wrong_picture_is_an_input_error(
        self, network: Stm, shots: Shots, saved: Path
    ) -> None:
        wrong = pictures(shots) | {CUT - 1: shots[2][0]}
        with pytest.raises(InputError, match=f"frame {CUT - 1} is not the picture"):
            self.load(network, saved, wrong)

    @pytest.mark.parametrize("damage", ["missing", "text", "cut", "flipped"])
    def test_what_is_no_whole_track_is_an_input_error(
        self, damage: str, network: Stm, shots: Shots, saved: Path
    ) -> None:
        content = bytearray(saved.read_bytes())
        content[-5] ^= 255
        damaged = {
            "text": b"no track",
            "cut": bytes(content[: len(content) // 2]),
            "flipped": bytes(content),
        }
        saved.unlink()
        if damage in damaged:
            saved.write_bytes(damaged[damage])
        with pytest.raises(InputError, match=r"saved\.track: (no such file|not a track)"):
            self.load(network, saved, pictures(shots))

    def test_a_place_that_cannot_be_written_is_an_output_error(
        self, network: Stm, shots: Shots, tmp_path: Path
    ) -> None:
        tracker = vostool.Tracker(predictor=predictor_of(network))
        with pytest.raises(OutputError, match="cannot be written"):
            tracker.save(tmp_path / "no" / "folder.track")

    def test_a_track_of_another_network_is_not_written(
        self, network: Stm, shots: Shots, saved: Path
    ) -> None:
        one, other = (vostool.Tracker(predictor=predictor_of(network)) for _ in range(2))
        list(steps(one, shots, 0, 2))
        other.track = one.track
        before = saved.read_bytes()
        with pytest.raises(VostoolError, match="expected a track of this network"):
            other.save(saved)
        assert saved.read_bytes() == before


def test_a_track_that_0_2_0_wrote_goes_on_bit_for_bit_without_a_warning(
    network: Stm, shots: Shots, saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with safe_open(saved, framework="pt") as file:
        header = json.loads(file.metadata()["vostool"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for frame in header["frames"]:
        del frame["places"], frame["moved"]
    for name in ("skip_blocks", "second_mask_channel", "published"):
        del header["settings"]["settings"][name]
    save_file(tensors, saved, metadata={"vostool": json.dumps(header)})
    tracker, again = (vostool.Tracker(predictor=predictor_of(network)) for _ in range(2))
    list(steps(tracker, shots, 0, CUT))
    again.load(saved, pictures(shots))
    assert not caplog.messages
    assert all(map(np.array_equal, steps(again, shots, CUT), steps(tracker, shots, CUT)))


def test_a_track_that_went_on_in_other_settings_can_be_saved_and_loaded(
    network: Stm, shots: Shots, tmp_path: Path
) -> None:
    """Its pictures are then made at their size, though they were resized before."""
    path, larger = tmp_path / "a.track", predictor_of(network, size=2 * HEIGHT)
    tracker = vostool.Tracker(predictor=larger)
    list(steps(tracker, shots, 0, 4))
    tracker._go_on_within(Limits(HEIGHT, None, 3), 4)
    list(steps(tracker, shots, 4, CUT))
    tracker.save(path)
    for predictor in (tracker.predictor, predictor_of(network, memory_frames=2)):
        tracker = vostool.Tracker(predictor=predictor)
        tracker.load(path, pictures(shots))
        tracker.save(path)
    tracker.load(path, pictures(shots))
    assert tracker.frames == CUT


def test_what_waits_to_be_written_holds_no_memory_bank(network: Stm, shots: Shots) -> None:
    tracker = vostool.Tracker(predictor=predictor_of(network))
    list(steps(tracker, shots, 0, CUT))
    waiting, group = tracker.snapshot(), weakref.ref(tracker.track.groups[0])
    assert group() is not None
    del tracker
    gc.collect()
    assert group() is None
    assert waiting.frames


def test_a_track_without_frames_can_be_written(network: Stm, shots: Shots, tmp_path: Path) -> None:
    tracker = vostool.Tracker(predictor=predictor_of(network))
    tracker.save(tmp_path / "a.track")
    tracker.load(tmp_path / "a.track", {})
    assert (tracker.step(*shots[0]) == shots[0][1]).all()


def test_the_file_holds_no_pictures(saved: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        assert all(name.startswith("masks.") for name in file.keys())  # noqa: SIM118


def test_packing_loses_no_bit() -> None:
    masks = torch.rand(1, 3, 17, 19, generator=torch.Generator().manual_seed(0)) ** 20
    masks[0, 0, 0, :4] = torch.tensor([0.0, -0.0, 1e-42, 1 - 2**-24])
    again = unpack(pack(masks), tuple(masks.shape))
    assert torch.equal(again.view(torch.int32), masks.view(torch.int32))


@pytest.fixture(scope="module")
def stcn(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Weights of a network whose frames get a border of the mean colour."""
    return str(write(tmp_path_factory.mktemp("published") / "stcn.pth", export(small(STCN))))


ODD = 37  # pixels of a short side that is no multiple of 16


def cropped(shots: Shots, index: int) -> tuple[Picture, Picture]:
    rgb, labels = shots[index]
    return np.ascontiguousarray(rgb[:ODD, :50]), np.ascontiguousarray(labels[:ODD, :50])


def bordered(weights: str, shots: Shots, size: int = ODD) -> vostool.Tracker:
    """Return a tracker after two frames with a border."""
    tracker = vostool.Tracker(weights=weights, size=size, device="cpu")
    tracker.step(*cropped(shots, 0))
    tracker.step(cropped(shots, 1)[0])
    return tracker


def test_a_track_with_a_border_that_was_put_back_can_be_saved_and_loaded(
    stcn: str, shots: Shots, tmp_path: Path
) -> None:
    tracker = bordered(stcn, shots)
    kept = tracker.track
    tracker.step(cropped(shots, 2)[0])
    tracker.track = kept
    tracker.save(tmp_path / "a.track")
    again = vostool.Tracker(predictor=tracker.predictor)
    again.load(tmp_path / "a.track", {index: cropped(shots, index)[0] for index in range(3)})
    following = cropped(shots, 2)[0]
    tracker.step(following)
    again.step(following)
    assert np.array_equal(again.soft_masks(), tracker.soft_masks())


def test_a_track_put_back_in_another_size_loses_its_border_before_it_is_resized(
    stcn: str, shots: Shots
) -> None:
    tracker = bordered(stcn, shots, size=60)
    lower = tracker.predictor.within(Limits(ODD, None, 24))
    first = tracker.track.frames[0]
    (before,) = first.placements
    expected = lower.placement(ODD, 50).image_from(first.image, before)
    other = vostool.Tracker(predictor=lower)
    other.track = tracker.track
    other.step(cropped(shots, 2)[0])
    assert torch.equal(other.track.frames[0].image, expected)
