import json
from pathlib import Path

import numpy as np
import pytest

from vostool.errors import InputError
from vostool.evaluate.compare import bootstrap, compare, comparison_table
from vostool.evaluate.results import ClipScores, ObjectScores, Results, read_results


def results(clips: dict[str, list[float]], frames: int = 2) -> Results:
    """Return a run in which each object has one J for all frames, and F a tenth less."""
    return Results(
        benchmark="davis17",
        split="val",
        root=Path("set"),
        predictions=Path("masks"),
        clips=[
            ClipScores(
                name=name,
                frames=[str(frame) for frame in range(frames)],
                objects={
                    id_: ObjectScores(j=[value] * frames, f=[value - 0.1] * frames)
                    for id_, value in enumerate(values, start=1)
                },
            )
            for name, values in clips.items()
        ],
    )


def test_a_run_against_itself_differs_in_nothing() -> None:
    run = results({"a": [0.5, 0.7], "b": [0.9]})
    comparison = compare(run, run)
    assert all(gain.mean == gain.low == gain.high == 0 for gain in comparison.measures.values())


def test_the_difference_is_the_second_less_the_first_a_mean_over_objects() -> None:
    comparison = compare(
        results({"a": [0.5, 0.7], "b": [0.9]}), results({"a": [0.6, 0.7], "b": [0.7]})
    )
    assert comparison.objects == pytest.approx({"a_1": 0.1, "a_2": 0, "b_1": -0.2})
    assert comparison.measures["J"].mean == pytest.approx(-0.1 / 3)
    assert comparison.clips == pytest.approx({"b": -0.2, "a": 0.05})
    assert list(comparison.clips) == ["b", "a"]  # the worst first


def test_the_interval_covers_a_known_mean_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(60):
        gain = bootstrap({str(clip): [random.normal(1, 2)] for clip in range(40)})
        covered += gain.low <= 1 <= gain.high
    assert 50 <= covered <= 60


def test_the_interval_draws_whole_clips() -> None:
    one = bootstrap({"a": [1.0] * 50, "b": [0.0] * 50})
    assert (one.low, one.mean, one.high) == (0, 0.5, 1)


def test_the_interval_is_the_same_every_time() -> None:
    gains = {str(clip): [float(clip)] for clip in range(7)}
    assert bootstrap(gains) == bootstrap(gains)


def test_runs_on_other_objects_are_refused() -> None:
    with pytest.raises(InputError, match="different objects: b_1"):
        compare(results({"a": [1], "b": [1]}), results({"a": [1]}))


def test_runs_on_other_frames_are_refused() -> None:
    with pytest.raises(InputError, match="different frames of a_1: 2 in the first, 3"):
        compare(results({"a": [1]}), results({"a": [1]}, frames=3))


def test_runs_on_frames_of_other_names_are_refused() -> None:
    run = results({"a": [1]})
    renamed = run.clips[0].model_copy(update={"frames": ["7", "8"]})
    with pytest.raises(InputError, match="different frames of a, by their names"):
        compare(run, run.model_copy(update={"clips": [renamed]}))


def test_runs_of_other_benchmarks_are_refused() -> None:
    run = results({"a": [1]})
    with pytest.raises(InputError, match="different benchmarks: davis17 and davis16"):
        compare(run, run.model_copy(update={"benchmark": "davis16"}))


def test_runs_without_scores_are_refused() -> None:
    with pytest.raises(InputError, match="masks: nothing was scored"):
        compare(results({}), results({}))


def test_the_table_lists_objects_where_a_clip_has_several() -> None:
    first, second = results({"a": [0.5, 0.7], "b": [0.9]}), results({"a": [0.6, 0.6], "b": [1.1]})
    names = list(comparison_table(compare(first, second)).columns[0].cells)
    assert names == ["J&F", "J", "F", "a", "b", "a_2", "a_1", "b_1"]


def test_the_table_shows_the_worst_and_the_best_clips() -> None:
    first = results({f"clip{number:02d}": [0.5] for number in range(20)})
    second = results({f"clip{number:02d}": [0.3 + number / 50] for number in range(20)})
    table = comparison_table(compare(first, second), count=2)
    names = list(table.columns[0].cells)
    assert names == ["J&F", "J", "F", "clip00", "clip01", "…", "clip18", "clip19"]


class TestReadingResults:
    def test_gives_back_what_was_written(self, tmp_path: Path) -> None:
        run = results({"a": [0.123456789012345]})
        (tmp_path / "results.json").write_text(run.model_dump_json())
        assert read_results(tmp_path) == read_results(tmp_path / "results.json") == run

    @pytest.mark.parametrize("text", ["", "{}", "[1]", '{"clips": 3}'])
    def test_refuses_what_is_none(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "results.json").write_text(text)
        with pytest.raises(InputError, match=r"results\.json: not the results"):
            read_results(tmp_path)

    def test_refuses_what_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"results\.json: cannot be read"):
            read_results(tmp_path)

    def test_refuses_keys_it_does_not_know(self, tmp_path: Path) -> None:
        document = json.loads(results({"a": [1]}).model_dump_json()) | {"more": 1}
        (tmp_path / "results.json").write_text(json.dumps(document))
        with pytest.raises(InputError, match="more"):
            read_results(tmp_path)
