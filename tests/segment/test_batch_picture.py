from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from matplotlib.collections import PolyCollection

from vostool.media.figures import save_figure
from vostool.segment.batch_picture import COLOURS, draw_batch, joined_spans
from vostool.segment.batch_report import BatchReport, JobEntry

ENTRY = JobEntry(1, "a.mp4", "out/a", "done", "w1", began=60.0, seconds=60.0, tries=1, frames=50)


def report(*entries: JobEntry) -> BatchReport:
    start = datetime(2026, 1, 1, 12, tzinfo=UTC)
    return BatchReport.of("$t$.csv", len(entries), entries, start, seconds=240.0)


def test_a_batch_is_drawn_as_a_row_for_each_worker_with_a_bar_for_each_job() -> None:
    short = replace(ENTRY, number=2, video="b.mp4", worker="w2", began=0.0, seconds=1.0)
    (place,) = draw_batch(report(ENTRY, short)).axes
    (bars,) = place.collections
    corners = [path.get_extents().bounds for path in bars.get_paths()]
    # in minutes: from 1 to 2 in the first row, a 60th from 0 in the second
    assert [tuple(round(each, 3) for each in corner) for corner in corners] == [
        (1.0, -0.4, 1.0, 0.8),
        (0.0, 0.6, 0.017, 0.8),
    ]
    assert [label.get_text() for label in place.get_yticklabels()] == [
        "w1\n1 video, busy 25%",
        "w2\n1 video, busy 0%",
    ]
    # the short one has no room for its name
    assert [text.get_text() for text in place.texts] == ["a"]
    assert (place.get_xlabel(), place.get_xlim()) == ("min", (0.0, 4.0))


def test_failed_jobs_have_a_colour_and_a_cross_in_the_picture_of_a_batch() -> None:
    failed = replace(ENTRY, number=2, status="failed", worker="w2", error="no")
    (place,) = draw_batch(report(ENTRY, failed)).axes
    legend = place.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["1 done", "1 failed"]
    kinds = [each for each in place.collections if isinstance(each, PolyCollection)]
    assert [len(each.get_paths()) for each in kinds] == [1, 1]
    (crosses,) = place.lines
    assert np.array_equal(crosses.get_xydata(), [[1.5, 1.0]])


def test_every_status_of_a_job_has_a_colour() -> None:
    assert set(COLOURS) == set(report().totals)


def test_bars_that_are_no_wider_than_a_dot_are_joined() -> None:
    spans = [(0.0, 5.0), (5.0, 5.5), (5.6, 6.0), (20.0, 20.1), (20.1, 30.0)]
    assert list(joined_spans(spans, narrow=1.0)) == [(0.0, 6.0), (20.0, 20.1), (20.1, 30.0)]
    assert list(joined_spans([], narrow=1.0)) == []


def test_the_picture_of_a_batch_that_took_no_time_can_be_written(tmp_path: Path) -> None:
    found = report(replace(ENTRY, began=0.0, seconds=0.0)).model_copy(update={"seconds": 0.0})
    save_figure(tmp_path / "batch.png", draw_batch(found))
    assert (tmp_path / "batch.png").read_bytes().startswith(b"\x89PNG")
