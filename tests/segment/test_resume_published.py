from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import ARRIVAL, FRAMES, Footage, film
from tests.model.published.making import STCN, STM, STM_CYCLE, XMEM, export, small, write
from tests.segment.test_resume import ShortOfMemory, assert_alike, interrupted, mask_at, resumed
from vostool.errors import OutputError
from vostool.inference.loading import load_predictor
from vostool.inference.options import ModelOptions
from vostool.inference.predictor import Predictor
from vostool.inference.tracker import Tracker
from vostool.media.masks import write_mask
from vostool.model.published.xmem import Xmem, XmemMemory
from vostool.segment.job import Job
from vostool.segment.run import segment

KINDS: dict[str, Any] = {"stm": STM, "stm-cycle": STM_CYCLE, "stcn": STCN, "xmem": XMEM}
pytestmark = pytest.mark.usefixtures("states_of_every_frame")
SIZE = 37  # its frames need a border to be of multiples of 16


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("published")
    return {
        kind: write(folder / f"{kind}.pth", export(small(settings)))
        for kind, settings in KINDS.items()
    }


@pytest.fixture
def two(tmp_path: Path) -> Footage:
    footage = film(tmp_path / "two.mp4", tmp_path / "two.png", two=True)
    write_mask(footage.mask, footage.labels[0])
    return footage


@pytest.fixture
def job(two: Footage, tmp_path: Path) -> Job:
    """Two objects, one of which enters late."""
    return Job(two.path, (str(two.mask), mask_at(ARRIVAL, two)), tmp_path / "out")


def load(weights: Path, **options: Any) -> Predictor:
    """Return published weights at a size; XMem with a long-term memory that is soon filled."""
    chosen = {"size": SIZE, "device": "cpu", "precision": "fp32", **options}
    predictor = load_predictor(ModelOptions().changed({"weights": str(weights), **chosen}))
    network = predictor.network
    if isinstance(network, Xmem):
        few = {"prototypes": 3, "long_term": 8, "top_k": 5}
        network.settings = network.settings.model_copy(update=few)
    return predictor


@pytest.fixture(params=list(KINDS), scope="module")
def predictor(request: pytest.FixtureRequest, files: dict[str, Path]) -> Predictor:
    return load(files[request.param], memory_every=2, memory_frames=2, gc_every=3, gc_iters=1)


def test_a_run_of_published_weights_goes_on_to_the_same_bytes(
    job: Job, predictor: Predictor, tmp_path: Path
) -> None:
    segment(replace(job, output=tmp_path / "whole"), predictor)
    for frame in (2, 5, 8):
        job = replace(job, output=tmp_path / f"after {frame}")
        interrupted(job, predictor, frame)
        report = resumed(job, predictor)
        assert report.seconds.frames == FRAMES - frame + 1
        assert_alike(job.output, tmp_path / "whole")


def test_a_repaired_run_of_published_weights_is_as_if_the_mask_had_been_there(
    job: Job, two: Footage, predictor: Predictor, tmp_path: Path
) -> None:
    segment(job, predictor)
    repaired = replace(job, masks=(*job.masks, mask_at(5, two)))
    report = resumed(repaired, predictor)
    assert report.seconds.frames is not None
    assert report.seconds.frames <= FRAMES - 4
    segment(replace(repaired, output=tmp_path / "whole"), predictor)
    assert_alike(job.output, tmp_path / "whole")


def test_a_run_of_published_weights_that_ran_out_of_memory_goes_on_to_the_same_bytes(
    job: Job, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ShortOfMemory(4, lambda predictor: predictor.size < SIZE).apply(monkeypatch)
    segment(replace(job, output=tmp_path / "whole"), predictor)
    for stop in (4, 7):
        job = replace(job, output=tmp_path / f"after {stop}")
        interrupted(job, predictor, stop)
        assert resumed(job, predictor).limits.lowered
        assert_alike(job.output, tmp_path / "whole")


@dataclass
class Memories:
    """The memories of XMem that a run had before each frame."""

    found: list[tuple[XmemMemory, ...]]

    def apply(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = Tracker._advance

        def advance(tracker: Tracker, *arguments: Any) -> Any:
            groups = tracker.track.groups
            self.found.append(tuple(each for group in groups for each in group.bank or ()))
            return before(tracker, *arguments)

        monkeypatch.setattr(Tracker, "_advance", advance)


def test_a_resumed_run_of_xmem_has_its_state_and_long_term_memory(
    job: Job, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without them the frames that are memorised again would give another memory."""
    predictor, memories = load(files["xmem"], memory_every=1, memory_frames=2), Memories([])
    memories.apply(monkeypatch)
    interrupted(job, predictor, 7)
    before = memories.found[6]
    memories.found.clear()
    resumed(job, predictor)
    after = memories.found[0]
    assert len(before) == len(after) == 2
    for one, other in zip(before, after, strict=True):
        assert one.bank.prototypes == other.bank.prototypes > 0
        assert one.since_kept == other.since_kept
        tensors = [each.to_tensors() for each in (one, other)]
        assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
        assert one.hidden.abs().max() > 0


@pytest.mark.parametrize(
    ("kind", "before", "now", "name"),
    [
        ("stm-cycle", {"size": None}, {"size": 240}, "box"),
        ("xmem", {}, {"memory_every": 2}, "memory_every"),
        ("stcn", {}, {"reference": "memory"}, "references"),
    ],
)
def test_a_run_of_published_weights_is_not_resumed_in_another_way(
    job: Job,
    files: dict[str, Path],
    kind: str,
    before: dict[str, Any],
    now: dict[str, Any],
    name: str,
) -> None:
    small = replace(job, masks=job.masks[:1], end=3)
    segment(small, load(files[kind], **before))
    with pytest.raises(OutputError, match=rf": it has {name} .*, now "):
        resumed(small, load(files[kind], **now))


def test_a_run_of_a_disturbed_memory_is_not_resumed_without_the_disturbance(
    job: Job, files: dict[str, Path]
) -> None:
    job = replace(job, masks=job.masks[:1])
    interrupted(job, load(files["stcn"], disturb="box"), 3)
    with pytest.raises(OutputError, match=r": it has disturbance .*box.*, now None"):
        resumed(job, load(files["stcn"]))
