"""The result of `vostool segment`, opened in a studio to be repaired."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import FRAMES, Footage
from tests.studio.conftest import Open, finished, masks_in, same
from vostool.errors import MaskError, OutputError
from vostool.inference.loading import load_predictor
from vostool.inference.options import ModelOptions
from vostool.media.masks import write_mask
from vostool.segment.job import Job
from vostool.segment.report import read_report
from vostool.segment.run import segment

pytestmark = pytest.mark.usefixtures("states_of_every_frame")

OTHER = 4
Run = Callable[..., Path]


@pytest.fixture
def run(two: Footage, options: dict[str, object], tmp_path: Path) -> Run:
    """Segment the two squares from masks, by default from the first one; return the folder."""

    def run_it(name: str = "run", masks: tuple[str, ...] = (), **more: object) -> Path:
        given = masks or (str(two.mask),)
        chosen = {key: more.pop(key) for key in [*more] if key in ModelOptions.model_fields}
        predictor = load_predictor(ModelOptions().changed({**options, **chosen}))
        segment(Job(two.path, given, tmp_path / name, **more), predictor)  # type: ignore[arg-type]
        return tmp_path / name

    return run_it


def edit(folder: Path, **options: object) -> None:
    """Change options in a report."""
    report = json.loads((folder / "run.json").read_text())
    report["options"].update(options)
    (folder / "run.json").write_text(json.dumps(report))


def test_a_repair_of_a_run_equals_a_run_that_had_the_mask_from_the_start(
    run: Run, open_session: Open, two: Footage, tmp_path: Path
) -> None:
    folder = run()
    session = open_session(folder)
    assert session.valid == session.following.frames == FRAMES
    assert session.painted.places == {(0, 1)}
    assert np.array_equal(session.labels(OTHER), masks_in(folder)[OTHER])
    repaired = two.labels[OTHER] % 2
    session.paint(OTHER, repaired)
    assert session.valid == OTHER
    session.follow()
    finished(session)
    assert session.runner.problem is None
    assert session.is_complete
    write_mask(tmp_path / "repaired.png", repaired)
    both = run("both", (f"0:{two.mask}", f"{OTHER}:1@{tmp_path / 'repaired.png'}"))
    assert same(masks_in(folder), masks_in(both))
    report = read_report(folder)
    assert report is not None
    assert report.seconds.frames == FRAMES - OTHER  # nothing before the repair was redone
    assert report.outputs["overlay"] is not None  # which would be out of date else


def test_a_run_of_masks_of_single_objects_and_of_an_empty_one_is_gone_on_with(
    run: Run, open_session: Open, two: Footage, tmp_path: Path
) -> None:
    for frame, id_ in ((0, 1), (3, 2), (6, 2)):
        shown = two.labels[frame] * (two.labels[frame] == id_) * (frame < 6)
        write_mask(tmp_path / f"{frame}.png", shown)
    masks = tuple(f"{n}:{id_}@{tmp_path / f'{n}.png'}" for n, id_ in ((0, 1), (3, 2), (6, 2)))
    session = open_session(run(masks=masks))
    assert session.painted.places == {(0, 1), (3, 2), (6, 2)}
    before = (session.folder / "run.json").read_bytes()
    session.follow()
    finished(session)
    assert session.runner.problem is None
    assert (session.folder / "run.json").read_bytes() == before  # nothing is left to do


@pytest.mark.parametrize(
    "chosen",
    [
        {"reference": "first+previous"},
        {"reference": "first"},
        {"reference": "previous"},
        {"reference": "kept", "memory_every": 2},
        {"memory_every": 3, "memory_frames": 4, "size": 32},
        {"gc_every": 2, "gc_iters": 1},
        {"compile": True},
        {"gc_every": 2, "gc_iters": 1, "gc_length": 0.1, "gc_stop": 0.2, "gc_memory_only": True},
    ],
)
def test_a_run_with_other_options_of_the_network_is_gone_on_with_by_the_same(
    run: Run, two: Footage, chosen: dict[str, object]
) -> None:
    from vostool.studio.engine import is_resumable
    from vostool.studio.project import open_project

    opened = open_project(run(**chosen), None, {})
    job = Job(two.path, (f"1@{two.mask}",), opened.folder, ("masks",), resume=True)
    assert is_resumable(job, load_predictor(opened.project.options))


def test_a_run_is_found_under_its_video_too_and_goes_on_after_it_was_moved(
    run: Run, two: Footage, tmp_path: Path
) -> None:
    from vostool.studio.project import open_project

    folder = run()
    moved = two.path.rename(tmp_path / "moved.mp4")
    opened = open_project(moved, folder, {})
    assert opened.project.adopted
    assert opened.project.video == str(moved.resolve())


def test_results_that_cannot_be_gone_on_with_are_not_replaced(
    run: Run, open_session: Open, two: Footage
) -> None:
    folder = run()
    edit(folder, references={"annotated": True, "previous": True, "every": 3})
    session = open_session(folder, memory_every=4)
    assert session.valid == 0  # chosen by the user: everything is to be followed anew
    session.close()
    before = masks_in(folder)
    again = run("again")
    edit(again, references={"annotated": True, "previous": True, "every": 3})
    session = open_session(again)
    session.paint(OTHER, two.labels[OTHER] % 2)
    session.follow()
    finished(session)
    assert "cannot be resumed" in str(session.runner.problem)
    assert same(masks_in(again), before)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"start": 2}, "was made with --start, which a studio lacks"),
        ({"threshold": 0.5}, "was made with --threshold"),
        ({"finish": "grow=2"}, "was made with --finish"),
        ({"absent": ["1:2-3"]}, "was made with --absent"),
        ({"disturbance": {"kind": "box"}}, "was made with --disturb"),
    ],
)
def test_a_run_that_a_studio_could_not_have_made_is_refused(
    run: Run, open_session: Open, changes: dict[str, object], words: str
) -> None:
    folder = run()
    edit(folder, **changes)
    with pytest.raises(OutputError, match=words):
        open_session(folder)


def test_a_run_without_states_or_without_masks_is_refused(run: Run, open_session: Open) -> None:
    with pytest.raises(OutputError, match="holds a run without states"):
        open_session(run("stateless", states=False))
    with pytest.raises(OutputError, match="holds a run without masks"):
        open_session(run("maskless", outputs=("overlay",)))


def test_a_run_whose_mask_is_not_found_is_a_mask_error_that_says_what_to_do(
    run: Run, open_session: Open, two: Footage
) -> None:
    folder = run()
    two.mask.unlink()
    with pytest.raises(MaskError, match=r"no such mask file; run vostool studio where"):
        open_session(folder)
    assert not (folder / "studio.json").exists()
