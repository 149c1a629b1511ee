"""Two runs side by side: which frames are shown, and what is said of them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import HEIGHT, WIDTH, Picture
from tests.evaluate.making import predict_truth, write_davis16, write_davis17, write_grey
from vostool.errors import InputError
from vostool.evaluate.results import ClipScores, ObjectScores, Results
from vostool.evaluate.side_by_side import (
    DifferingFrame,
    differing_frames,
    draw_side_by_side,
    panels,
    titles_of,
)
from vostool.media.figures import save_figure

FRAMES = ["00001", "00002", "00003", "00004"]  # that DAVIS scores of six


def run_of(root: Path, predictions: Path, clips: list[ClipScores] | None = None) -> Results:
    return Results(
        benchmark="davis16", split="val", root=root, predictions=predictions, clips=clips or []
    )


def change(path: Path, rows: int) -> None:
    """Fill the upper rows of a mask, where nothing is, with its object."""
    values: Picture = np.array(Image.open(path))
    values[:rows] = values.max()
    write_grey(path, values)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_davis16(tmp_path / "set", "a", "b", "c")


@pytest.fixture
def runs(root: Path, tmp_path: Path) -> tuple[Results, Results]:
    """Two runs that differ on one frame of a, on two of b, and on none of c."""
    folders = [predict_truth(root, tmp_path / name) for name in ("one", "two")]
    change(folders[0] / "a" / "00004.png", rows=3)
    change(folders[1] / "b" / "00002.png", rows=6)
    change(folders[1] / "b" / "00003.png", rows=1)
    return run_of(root, folders[0]), run_of(root, folders[1])


def test_of_each_clip_the_frame_is_shown_on_which_two_runs_differ_most(
    runs: tuple[Results, Results],
) -> None:
    assert differing_frames(runs) == [
        DifferingFrame("b", "00002", 6 / HEIGHT),
        DifferingFrame("a", "00004", 3 / HEIGHT),
    ]


def test_a_picture_of_two_runs_holds_as_many_rows_as_asked_for_and_as_there_are(
    runs: tuple[Results, Results], tmp_path: Path
) -> None:
    def titles(count: int) -> list[str]:
        figure = draw_side_by_side(runs, ("one", "two"), count)
        save_figure(tmp_path / f"{count}.png", figure)
        return [axes.get_title() for axes in figure.axes]

    assert titles(1) == ["b, frame 00002", "one", "two"]
    assert titles(4) == ["b, frame 00002", "one", "two", "a, frame 00004", "one", "two"]


def test_a_frame_is_shown_without_truth_where_there_is_none_and_with_the_masks_of_either_run(
    runs: tuple[Results, Results],
) -> None:
    plain, *painted = panels(runs, ("one", "two"), DifferingFrame("b", "00002", 0.1))
    assert plain.rgb.shape == (HEIGHT, WIDTH, 3)
    changed = [(panel.rgb != plain.rgb).any(axis=2) for panel in painted]
    assert changed[0].sum() == pytest.approx(256, abs=8)  # the square
    assert changed[1][:6].all()  # and what this run adds to it
    assert (changed[1][6:] == changed[0][6:]).all()


def test_the_truth_and_the_scores_of_a_frame_are_shown_where_there_are_any(
    runs: tuple[Results, Results],
) -> None:
    whole = ObjectScores(j=[0.1, 0.2, 0.3, 0.4], f=[0.0] * 4)
    late = ObjectScores(j=[0.6, 0.8], f=[0.0] * 2)  # on the last two frames
    clip = ClipScores(name="b", frames=FRAMES, objects={1: whole, 2: late})
    scored = runs[0].model_copy(update={"clips": [clip]}), runs[1]

    def shown(frame: str) -> list[str]:
        return [each.title for each in panels(scored, ("x", "y"), DifferingFrame("b", frame, 1))]

    assert shown("00002") == ["b, frame 00002", "x: J 20.0", "y"]
    assert shown("00003") == ["b, frame 00003", "x: J 45.0", "y"]
    assert shown("00005") == ["b, frame 00005", "x", "y"]  # the last is not scored
    truth, first, _ = panels(scored, ("x", "y"), DifferingFrame("b", "00002", 1))
    assert (truth.rgb == first.rgb).all()


def test_clips_and_frames_that_only_one_run_has_are_left_out(
    runs: tuple[Results, Results],
) -> None:
    (runs[0].predictions / "b" / "00002.png").unlink()
    for mask in (runs[0].predictions / "a").iterdir():
        mask.unlink()
    (runs[0].predictions / "a").rmdir()
    assert [(each.clip, each.frame) for each in differing_frames(runs)] == [("b", "00003")]


def test_frames_that_are_not_scored_are_left_out_where_others_are(
    runs: tuple[Results, Results],
) -> None:
    """The last frame of DAVIS, say: it would be shown without a score."""
    change(runs[0].predictions / "b" / "00005.png", rows=9)
    assert differing_frames(runs)[0].frame == "00005"
    scores = {1: ObjectScores(j=[0.5] * 4, f=[0.5] * 4)}
    clips = [ClipScores(name="b", frames=FRAMES, objects=scores)]
    scored = runs[0].model_copy(update={"clips": clips}), runs[1]
    assert differing_frames(scored)[0].frame == "00002"


def test_masks_of_frames_that_have_no_picture_are_left_out(tmp_path: Path) -> None:
    """As of YouTube-VOS, where a run may be on all frames, of which some are kept."""
    root = write_davis17(tmp_path / "set", "a")
    folders = [predict_truth(root, tmp_path / name) for name in ("one", "two")]
    for frame, rows in (("00002", 9), ("00003", 5)):
        change(folders[0] / "a" / f"{frame}.png", rows)
    runs = run_of(root, folders[0]), run_of(root, folders[1])
    assert differing_frames(runs)[0].frame == "00002"
    next(root.glob("JPEGImages/**/a/00002.*")).unlink()
    assert differing_frames(runs)[0].frame == "00003"


def test_runs_whose_masks_are_the_same_have_nothing_to_show(runs: tuple[Results, Results]) -> None:
    with pytest.raises(InputError, match="their masks are the same on every frame"):
        draw_side_by_side((runs[0], runs[0]), ("one", "one"))


def test_runs_without_a_clip_in_common_are_refused(
    runs: tuple[Results, Results], tmp_path: Path
) -> None:
    (tmp_path / "empty" / "other").mkdir(parents=True)
    with pytest.raises(InputError, match="found no clip that both have masks of"):
        differing_frames((runs[0], run_of(runs[0].root, tmp_path / "empty")))


def test_a_run_whose_masks_are_gone_is_refused(
    runs: tuple[Results, Results], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="gone: no such folder; the masks of a run are needed"):
        differing_frames((runs[0], run_of(runs[0].root, tmp_path / "gone")))


def test_masks_of_different_sizes_are_refused(runs: tuple[Results, Results]) -> None:
    write_grey(runs[1].predictions / "a" / "00001.png", np.zeros((24, 32), np.uint8))
    with pytest.raises(InputError, match=r"a/00001\.png: mask is 32x24, that of .* 64x48"):
        differing_frames(runs)


def test_runs_are_named_by_their_folders_or_where_these_are_alike_by_their_paths() -> None:
    assert titles_of(Path("x/plain"), Path("x/gc/results.json")) == ("plain", "gc")
    assert titles_of(Path("x/run"), Path("y/run")) == ("x/run", "y/run")
