from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.bench import composites
from tests.bench.judge import (
    Judged,
    draw_failure,
    measure,
    open_folder,
    table_of,
    worst_failure,
)
from tests.conftest import ARRIVAL, ColourNetwork, draw
from tests.evaluate.making import write_davis16, write_list
from tests.evaluate.test_run import colour_model
from vostool.inference.checks import LOW, Check
from vostool.inference.video import Stopwatch
from vostool.media.figures import save_figure
from vostool.media.masks import write_mask

FRAMES, WRONG = 5, 3  # frames of the clip; on that one the truth of object 2 lies elsewhere


def write_two_objects(root: Path) -> Path:
    """Write a clip of two squares, in the layout of composites."""
    for kind in ("JPEGImages", "Annotations"):
        (root / kind / "480p" / "both").mkdir(parents=True)
    for index in range(FRAMES):
        rgb, labels = draw(ARRIVAL + index, two=True)
        if index == WRONG:
            labels[labels == 2] = 0
            labels[:6, :6] = 2
        name = f"480p/both/{index:05d}"
        Image.fromarray(rgb).save(root / "JPEGImages" / f"{name}.jpg", quality=95)
        write_mask(root / "Annotations" / f"{name}.png", labels)
    write_list(root, "2017", ("both",))
    return root


def judged(j: float, confidence: float, frame: int = 1) -> Judged:
    return Judged("a", j, Check(frame=frame, object=1, score=1, confidence=confidence,
                                presence=1, area=0.1))  # fmt: skip


def test_the_bench_of_the_judge_scores_each_object_of_a_clip_by_its_own_truth(
    tmp_path: Path, weights: Path
) -> None:
    (clip,) = open_folder(write_two_objects(tmp_path / "set")).clips
    predictor = colour_model(weights, ColourNetwork())
    rows, _ = measure(clip, predictor, 1, Stopwatch())
    places = [(row.check.frame, row.check.object) for row in rows]
    assert places == [(frame, id_) for frame in range(1, FRAMES) for id_ in (1, 2)]
    wrong = [row for row, place in zip(rows, places, strict=True) if place == (WRONG, 2)]
    assert [row.j for row in wrong] == [0]
    assert min(row.j for row in rows if row not in wrong) > 0.9
    assert table_of(rows).shape == (len(rows), 5)
    save_figure(tmp_path / "failure.png", draw_failure(clip, predictor, rows))
    with Image.open(tmp_path / "failure.png") as picture:
        assert np.asarray(picture.convert("RGB")).std() > 10


def test_the_worst_failure_is_the_lowest_j_among_what_a_run_would_name() -> None:
    missed, named, lower = judged(0.1, LOW + 0.01), judged(0.4, 0.5), judged(0.3, LOW - 0.01)
    assert worst_failure([missed, named, lower]) is lower
    assert worst_failure([missed, judged(0.9, 1.0)]) is missed, "where it names none"


def test_composites_are_read_as_clips_of_several_objects_and_davis_2016_as_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = write_davis16(tmp_path / "single", "a", "b")
    several = tmp_path / "several"
    monkeypatch.setattr("sys.argv", ["composites", str(single), str(several), "a", "b"])
    composites.main()
    assert {clip.ids for clip in open_folder(several).clips} == {(1, 2)}
    assert {clip.ids for clip in open_folder(single).clips} == {(1,)}
