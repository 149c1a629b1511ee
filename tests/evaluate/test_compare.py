import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from vostool.errors import InputError
from vostool.evaluate.compare import bootstrap, compare, comparison_table
from vostool.evaluate.results import ClipScores, ObjectScores, Results, read_results
from vostool.evaluate.tables import terminal_table


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


def test_the_interval_leaves_out_half_of_what_it_does_not_cover_on_either_side() -> None:
    """Of many clips it is that of a normal distribution: 1.96 standard errors to either side."""
    values = np.random.default_rng(1).normal(1, 2, size=400)
    gain = bootstrap({str(clip): [value] for clip, value in enumerate(values.tolist())})
    error = values.std() / len(values) ** 0.5
    assert (gain.high - gain.mean) / error == pytest.approx(1.96, abs=0.06)
    assert (gain.mean - gain.low) / error == pytest.approx(1.96, abs=0.06)


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
    table = comparison_table(compare(first, second))
    names = [str(cell) for cell in table.columns[0].cells]
    assert names == ["J&F", "J", "F", "a", "b", "a_2", "a_1", "b_1"]


def test_the_table_shows_the_worst_and_the_best_clips() -> None:
    first = results({f"clip{number:02d}": [0.5] for number in range(20)})
    second = results({f"clip{number:02d}": [0.3 + number / 50] for number in range(20)})
    table = comparison_table(compare(first, second), count=2)
    names = [str(cell) for cell in table.columns[0].cells]
    assert names == ["J&F", "J", "F", "clip00", "clip01", "…", "clip18", "clip19"]


def test_the_table_says_on_how_many_clips_the_interval_rests() -> None:
    run = results({"a": [0.5], "b": [0.9]})
    assert comparison_table(compare(run, run)).columns[2].header == "95 % interval, 2 clips"


def test_a_comparison_names_both_runs() -> None:
    run = results({"a": [0.5]})
    named = compare(run, run, ("old", "new"))
    assert (named.first, named.second) == ("old", "new")
    assert compare(run, run).first == "masks"  # the predictions, where no names are given


def printed(table: Table) -> str:
    """Return a table as it looks on a terminal."""
    console = Console(file=io.StringIO(), width=120)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


@pytest.mark.parametrize("name", ["[red]x[/red]", "[/x]", ":smile:", "[link=a]b"])
def test_the_tables_show_names_as_they_are(name: str) -> None:
    run = results({name: [0.5, 0.6], "b": [0.9]})
    shown = printed(comparison_table(compare(run, run)))
    assert all(each in shown for each in (f"{name} ", f"{name}_1", f"{name}_2"))
    split = name.replace("/", "")
    assert split in printed(terminal_table(run.model_copy(update={"split": split})))


def test_a_long_name_is_folded_and_not_cut() -> None:
    name = "".join(chr(ord("a") + number % 26) for number in range(150))
    run = results({name: [0.5], "b": [0.9]})
    shown = printed(comparison_table(compare(run, run)))
    assert name in "".join(line.split("│")[1].strip() for line in shown.splitlines() if "│" in line)


@pytest.mark.parametrize(("count", "warned"), [(1, True), (2, True), (9, True), (10, False)])
def test_an_interval_over_fewer_than_ten_clips_is_warned_of(count: int, warned: bool) -> None:
    run = results({f"clip{number}": [0.5] for number in range(count)})
    assert bool(compare(run, run).warnings) == warned


def test_an_interval_over_five_clips_covers_clearly_less_than_it_says() -> None:
    random = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        gain = bootstrap({str(clip): [random.normal(1, 2)] for clip in range(5)})
        covered += gain.low <= 1 <= gain.high
    assert covered < 0.9 * 200


class TestReadingResults:
    def test_gives_back_what_was_written(self, tmp_path: Path) -> None:
        run = results({"a": [0.123456789012345]})
        (tmp_path / "results.json").write_text(run.model_dump_json())
        assert read_results(tmp_path) == read_results(tmp_path / "results.json") == run

    @pytest.mark.parametrize(
        "change",
        [
            {"j": [float("nan"), 1.0]},
            {"j": []},
            {"j": [1.0]},
            {"j": [1.0] * 3, "f": [1.0] * 3},
            {"group": 7},
        ],
    )
    def test_refuses_scores_that_no_run_writes(
        self, tmp_path: Path, change: dict[str, object]
    ) -> None:
        document = json.loads(results({"a": [0.5]}).model_dump_json())
        document["clips"][0]["objects"]["1"] |= change
        (tmp_path / "results.json").write_text(json.dumps(document))
        with pytest.raises(InputError, match=r"results\.json: not the results .*clips\.0"):
            read_results(tmp_path)

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
