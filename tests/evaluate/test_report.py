import base64
import io
import re
import xml.etree.ElementTree as xml
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import FRAMES, HEIGHT, WIDTH, draw, film
from vostool.errors import OutputError
from vostool.evaluate import report
from vostool.evaluate.report import (
    KINDS,
    LEFT,
    PICTURE_WIDTH,
    POINTS,
    TOP,
    WorstFrame,
    curve,
    paint_error,
    render,
    thin,
    worst_frames,
    write_report,
)
from vostool.evaluate.results import ClipScores, ObjectScores, Results, Speed
from vostool.media.masks import write_mask

RIGHT, BOTTOM = LEFT + report.WIDTH, TOP + report.HEIGHT
NAMES = [f"{index:05d}" for index in range(1, FRAMES - 1)]  # as DAVIS: neither first nor last


def scores(*j: float, group: str | None = None) -> ObjectScores:
    """Give an object a J for each frame, and an F a little below."""
    return ObjectScores(j=list(j), f=[max(0, each - 0.1) for each in j], group=group)


def clip(name: str, *objects: ObjectScores) -> ClipScores:
    frames = NAMES[: max(len(each.j) for each in objects)]
    return ClipScores(name=name, frames=frames, objects=dict(enumerate(objects, start=1)))


def found(*clips: ClipScores, root: Path = Path("set"), **more: object) -> Results:
    return Results.model_validate(
        {
            "benchmark": "Squares",
            "split": "val",
            "root": root,
            "predictions": root / "predicted",
            "clips": list(clips),
            **more,
        }
    )


def shoot(root: Path, *names: str) -> None:
    """Make a data set of videos with all masks; what is predicted came a frame too late."""
    (root / "videos").mkdir(parents=True)
    for name in names:
        labels = film(root / "videos" / f"{name}.mp4", root / "first.png").labels
        for folder, shift in (("Annotations", 0), ("predicted", 1)):
            (root / folder / name).mkdir(parents=True)
            for index in range(FRAMES):
                path = root / folder / name / f"{index:05d}.png"
                write_mask(path, labels[max(0, index - shift)])


def picture(name: str = "dog", frame: str = "00003") -> WorstFrame:
    rgb, truth = draw(3)
    return WorstFrame(name, frame, 0.25, rgb, truth, np.roll(truth, 4, axis=1))


def cells(page: str) -> list[list[str]]:
    """Return the table of objects."""
    body = page.split("<tbody>")[1].split("</tbody>")[0]
    rows = body.split("</tr>")[:-1]
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


def drawings(page: str) -> list[xml.Element]:
    """Return the charts; each must be well-formed."""
    return [xml.fromstring(each) for each in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)]


def points(line: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (each.split(",") for each in line.split())]


class TestThePage:
    def test_shows_every_clip_and_every_object_with_its_seven_figures(self) -> None:
        results = found(clip("dog", scores(0.9, 0.8), scores(0.4, 0.6)), clip("cat", scores(1, 1)))
        assert cells(render(results, [])) == [
            ["dog", "1", "80.0", "85.0", "100.0", "10.0", "75.0", "100.0", "10.0"],
            ["dog", "2", "45.0", "50.0", "50.0", "-20.0", "40.0", "0.0", "-20.0"],
            ["cat", "1", "95.0", "100.0", "100.0", "0.0", "90.0", "100.0", "0.0"],
        ]

    def test_begins_with_the_mean_over_all_objects(self) -> None:
        page = render(found(clip("dog", scores(0.9), scores(0.6)), clip("cat", scores(0.3))), [])
        assert "<title>Squares val: J&amp;F 55.0</title>" in page
        assert "<dt>J&amp;F mean</dt><dd>55.0</dd>" in page

    def test_has_bars_from_the_best_clip_to_the_worst(self) -> None:
        results = found(
            clip("mid", scores(0.5)), clip("low", scores(0.2)), clip("high", scores(0.8))
        )
        page = render(results, [])
        bars = page.split('<section id="clips">')[1].split("</section>")[0]
        assert re.findall(r'<th scope="row"[^>]*>(\w+)<', bars) == ["high", "mid", "low"]
        widths = [[rect.get("width") for rect in bar[1::2]] for bar in drawings(bars)]
        assert widths == [["80.0%", "70.0%"], ["50.0%", "40.0%"], ["20.0%", "10.0%"]]

    def test_has_a_curve_for_each_object_in_a_colour_of_its_own(self) -> None:
        page = render(found(clip("dog", *[scores(0.5, 0.6)] * 9), clip("cat", scores(1))), [])
        groups = [svg.findall("g") for svg in drawings(page) if svg.findall("g")]
        assert [len(each) for each in groups] == [1, 9]  # the better clip comes first
        looks = {group.get("class") for group in groups[1]}
        assert len(looks) == 9  # more than there are colours

    def test_names_the_first_and_last_scored_frame_under_a_curve(self) -> None:
        page = render(found(clip("dog", scores(0.5, 0.6, 0.7, 0.8))), [])
        texts = [text.text for text in drawings(page)[-1].iter("text")]
        assert texts == ["0", "50", "100", "1", "2", "4"]

    def test_tells_the_speed_only_where_it_was_measured(self) -> None:
        speed = Speed(
            frames=100,
            network_seconds=4,
            total_seconds=8,
            device="Graphics Card",
            precision="half",
        )
        dog = clip("dog", scores(1))
        page = render(found(dog, speed=speed), [])
        assert all(word in page for word in ("<b>25.0</b>", "<b>12.5</b>", "Graphics Card, half"))
        assert "per second" not in render(found(dog), [])

    def test_tells_how_to_make_it_again(self) -> None:
        options = {"weights": "stm-r18", "correct": {"steps": 10}, "memory_frames": None}
        dog = clip("dog", scores(1))
        page = render(found(dog, options=options, versions={"torch": "9.8.7"}), [])
        rows = page.split('class="plain"')[1].split("</table>")[0]
        told = re.findall(r"<th[^>]*>(.*?)</th><td>(.*?)</td>", rows)
        assert told[1:] == [
            ("weights", "stm-r18"),
            ("correct", "steps 10"),
            ("memory_frames", "none"),
            ("torch", "9.8.7"),
        ]
        assert "made elsewhere" not in page
        assert "made elsewhere" in render(found(dog), [])

    def test_tells_date_command_and_weights_of_the_run(self) -> None:
        run = found(
            clip("dog", scores(1)),
            created="2026-11-25T21:06:43Z",
            command="vostool eval davis17 'my DAVIS'",
            weights="weights/mine.safetensors",
        )
        page = render(run, [])
        assert "2026-11-25 21:06 UTC" in page
        rows = dict(
            re.findall(r"<th[^>]*>(\w+)</th><td>(.*?)</td>", page.split('class="plain"')[1])
        )
        assert rows["command"] == "vostool eval davis17 &#39;my DAVIS&#39;"
        assert rows["date"] == "2026-11-25 21:06:43+00:00"
        assert rows["weights"] == "weights/mine.safetensors"

    def test_shows_the_warnings_of_the_run(self) -> None:
        page = render(found(clip("dog", scores(1)), warnings=["cat: not scored"]), [])
        assert "Warning: cat: not scored" in page
        assert "Warning" not in render(found(clip("dog", scores(1))), [])

    def test_says_first_of_all_that_the_memory_was_disturbed(self) -> None:
        attack = {"kind": "fgsm", "every": 5, "strength": 20.0}
        page = render(found(clip("dog", scores(0.9)), options={"disturbance": attack}), [])
        assert "the memory was disturbed (fgsm, 20/255, every 5 frames)" in page
        box = {"kind": "box", "every": 10}
        page = render(found(clip("dog", scores(0.9)), options={"disturbance": box}), [])
        assert "the memory was disturbed (box, every 10 frames)" in page
        assert "disturbed" not in render(found(clip("dog", scores(0.9))), [])

    def test_tells_seen_from_unseen_objects_where_they_are_told_apart(self) -> None:
        dog = clip("dog", scores(0.9, group="seen"), scores(0.5, group="unseen"), scores(0.7))
        page = render(found(dog), [])
        assert [row[2] for row in cells(page)] == ["seen", "unseen", ""]
        heads = re.findall(r"<dt>(.*?) in training</dt>\s*<dd><b>(.*?)</b>", page)
        assert heads == [("seen", "85.0"), ("unseen", "45.0")]
        assert "in training" not in render(found(clip("dog", scores(0.9))), [])

    def test_loads_nothing_from_elsewhere(self) -> None:
        page = render(found(clip("dog", scores(0.9))), [picture()])
        sources = re.findall(r'(?:src|href)="([^"]*)"', page)
        assert len(sources) > 3
        assert all(source.startswith(("data:image/jpeg;base64,", "#")) for source in sources)
        assert not re.search(r"http|url\(|@import|<link", page)

    def test_leads_only_to_places_that_are_there(self) -> None:
        for pictures in ([], [picture()]):
            page = render(found(clip("dog", scores(0.9))), pictures)
            links = re.findall(r'href="#(\w+)"', page)
            assert sorted(links) == sorted(re.findall(r'<section id="(\w+)"', page))

    def test_takes_names_for_names_even_if_they_look_like_html(self) -> None:
        evil = '<script>alert("a")</script>'
        tame = render(found(clip("dog", scores(1, group="seen"))), [picture()])
        page = render(
            found(
                ClipScores(name=evil, frames=[evil], objects={1: scores(1, group=evil)}),
                benchmark=evil,
                split=evil,
                options={evil: evil},
                versions={evil: evil},
            ),
            [picture(evil, evil)],
        )
        assert page.count("<script") == tame.count("<script") == 1
        assert page.count("&lt;script&gt;alert(&#34;a&#34;)&lt;/script&gt;") > 10
        assert drawings(page)

    def test_of_hundreds_of_clips_folds_those_in_between(self) -> None:
        names = [f"clip{number:03d}" for number in range(100)]
        page = render(found(*[clip(name, scores(0.5)) for name in names]), [])
        bars = page.split('<section id="clips">')[1].split("</section>")[0]
        folded = bars.split("<details>")[1].split("</details>")[0]
        assert re.findall(r'<th scope="row"[^>]*>(\w+)<', bars) == names
        assert re.findall(r'<th scope="row"[^>]*>(\w+)<', folded) == names[20:-20]
        assert "60 clips in between" in folded


class TestACurve:
    def test_spans_the_plot_from_one_above_to_zero_below(self) -> None:
        line = curve(scores(1, 0.5, 0), frames=3)
        assert points(line.points) == [
            (LEFT, TOP),
            ((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2),
            (RIGHT, BOTTOM),
        ]
        assert line.start is None

    def test_of_a_late_object_starts_with_a_dot_where_it_is_first_scored(self) -> None:
        line = curve(scores(1, 0), frames=5)
        entry = LEFT + (RIGHT - LEFT) * 3 / 4
        assert points(line.points) == [(entry, TOP), (RIGHT, BOTTOM)]
        assert line.start == (entry, TOP)
        page = render(found(clip("dog", scores(1, 1, 1), scores(1, 0))), [])
        assert [len(group.findall("circle")) for group in drawings(page)[-1].iter("g")] == [0, 1]

    def test_of_a_single_frame_is_a_dot(self) -> None:
        assert curve(scores(1), frames=1).start == (LEFT, TOP)

    def test_of_a_long_clip_has_few_points_but_keeps_ends_dips_and_peaks(self) -> None:
        values = [0.5] * 5000
        values[1234], values[4321] = 0.1, 0.9
        kept = thin(values)
        assert {0, 1234, 4321, 4999} <= set(kept)
        assert kept == sorted(kept)
        assert len(thin(list(np.random.default_rng(0).random(5000)))) <= POINTS
        assert len(points(curve(scores(*values), 5000).points)) <= POINTS

    def test_of_a_short_clip_keeps_every_frame(self) -> None:
        assert thin([0.5] * POINTS) == list(range(POINTS))


class TestTheWorstFrames:
    def test_are_one_of_each_of_the_worst_clips_worst_first(self, tmp_path: Path) -> None:
        shoot(tmp_path, "a", "b", "c")
        results = found(
            clip("a", scores(0.9, 0.6, 0.9)),
            clip("b", scores(0.2, 0.1, 0.3)),  # its second worst is worse than the others' worst
            clip("c", scores(0.8, 0.9, 0.4)),
            root=tmp_path,
        )
        worst = [(each.clip, each.frame) for each in worst_frames(results)]
        assert worst == [("b", "00002"), ("c", "00003"), ("a", "00002")]
        assert [each.clip for each in worst_frames(results, 2)] == ["b", "c"]
        assert list(worst_frames(results, 0)) == []

    def test_have_the_frame_the_truth_and_the_prediction_of_their_number(
        self, tmp_path: Path
    ) -> None:
        shoot(tmp_path, "a")
        (worst,) = worst_frames(found(clip("a", scores(0.9, 0.9, 0.9, 0.2, 0.9)), root=tmp_path))
        rgb, labels = draw(4)
        assert worst.frame == "00004"
        assert worst.j_and_f == pytest.approx(0.15)
        assert np.array_equal(worst.truth, labels)
        assert np.array_equal(worst.predicted, draw(3)[1])
        assert np.abs(worst.rgb.astype(int) - rgb).mean() < 8  # the codec loses a little

    def test_are_found_by_the_mean_of_the_objects_scored_on_them(self, tmp_path: Path) -> None:
        shoot(tmp_path, "a")
        # the late object counts on the last two frames: means of J 0.5, 0.4, 0.45, 0.7
        two = clip("a", scores(0.5, 0.4, 0.3, 0.8), scores(0.6, 0.6))
        (worst,) = worst_frames(found(two, root=tmp_path))
        assert worst.frame == "00002"
        assert worst.j_and_f == pytest.approx(0.35)
        # without the alignment to the end the first frames would be taken for worst
        late = clip("a", scores(0.5, 0.5, 0.5, 0.5), scores(0.1, 0.2))
        assert [each.frame for each in worst_frames(found(late, root=tmp_path))] == ["00003"]

    def test_leave_out_clips_whose_video_is_gone(self, tmp_path: Path) -> None:
        shoot(tmp_path, "a", "b", "c")
        (tmp_path / "videos" / "a.mp4").unlink()
        each = [clip(name, scores(level)) for name, level in (("a", 0.1), ("b", 0.3), ("c", 0.2))]
        results = found(*each, root=tmp_path)
        assert [each.clip for each in worst_frames(results)] == ["c", "b"]
        assert [each.clip for each in worst_frames(results, 1)] == ["c"]  # the next one instead
        page = render(results, list(worst_frames(results)))
        assert page.count("<img") == 6
        assert [row[0] for row in cells(page)] == ["a", "b", "c"]

    @pytest.mark.parametrize("folder", ["Annotations", "predicted"])
    def test_leave_out_clips_whose_masks_are_gone(self, tmp_path: Path, folder: str) -> None:
        shoot(tmp_path, "a", "b")
        (tmp_path / folder / "a" / "00001.png").unlink()
        results = found(clip("a", scores(0.1)), clip("b", scores(0.3)), root=tmp_path)
        assert [each.clip for each in worst_frames(results)] == ["b"]

    def test_are_none_where_the_whole_set_is_gone(self, tmp_path: Path) -> None:
        results = found(clip("a", scores(0.1)), root=tmp_path / "gone")
        assert list(worst_frames(results)) == []
        assert "Worst frames" not in render(results, [])

    def test_of_masks_smaller_than_the_video_are_of_the_masks_size(self, tmp_path: Path) -> None:
        shoot(tmp_path, "a")
        for folder in ("Annotations", "predicted"):
            half = draw(1)[1][::2, ::2]
            write_mask(tmp_path / folder / "a" / "00001.png", half)
        (worst,) = worst_frames(found(clip("a", scores(0.1)), root=tmp_path))
        assert worst.rgb.shape == (HEIGHT // 2, WIDTH // 2, 3)


class TestThePictures:
    def test_of_the_error_tell_right_missed_false_and_confused_pixels(self) -> None:
        truth = np.array([[0, 1, 1, 0, 2]], np.uint8)
        predicted = np.array([[0, 1, 0, 1, 1]], np.uint8)
        rgb = np.full((1, 5, 3), 100, np.uint8)
        painted = paint_error(WorstFrame("a", "0", 0, rgb, truth, predicted))[0]
        kinds = [np.array(KINDS[kind]) for kind in ("right", "missed", "false", "wrong object")]
        assert np.ptp(painted[0]) == 0  # the frame in grey
        for pixel, kind in zip(painted[1:], kinds, strict=True):
            far = [np.abs(each - pixel.astype(int)).sum() for each in kinds]
            assert kinds[np.argmin(far)] is kind
            assert min(far) < 100

    def test_have_a_legend_that_speaks_of_confusion_only_where_there_is_some(self) -> None:
        results = found(clip("dog", scores(0.9)))
        confused = replace(picture(), predicted=picture().truth * 2)
        assert "</i>wrong object</span>" not in render(results, [picture()])
        assert "</i>wrong object</span>" in render(results, [picture(), confused])

    def test_of_truth_and_prediction_show_each_its_own_and_the_error_both(self) -> None:
        results, blank = found(clip("dog", scores(0.9))), np.zeros((HEIGHT, WIDTH), np.uint8)

        def sources(shot: WorstFrame) -> list[str]:
            return re.findall(r'src="([^"]*)"', render(results, [shot]))

        def changed(shot: WorstFrame) -> list[bool]:
            pairs = zip(sources(picture()), sources(shot), strict=True)
            return [before != after for before, after in pairs]

        assert changed(replace(picture(), truth=blank)) == [True, False, True]
        assert changed(replace(picture(), predicted=blank)) == [False, True, True]

    def test_stand_side_by_side_and_are_as_large_as_the_page_needs(self) -> None:
        rgb = np.zeros((480, 2 * PICTURE_WIDTH, 3), np.uint8)
        rgb[:, PICTURE_WIDTH:] = 255
        blank = np.zeros(rgb.shape[:2], np.uint8)
        whole = WorstFrame("dog", "00003", 0.5, rgb, blank, blank)
        page = render(found(clip("dog", scores(0.9))), [whole])
        images = re.findall(r'src="data:image/jpeg;base64,([^"]*)" alt="(\w+): dog, frame 3"', page)
        assert [name for _, name in images] == ["Truth", "Prediction", "Error"]
        image = Image.open(io.BytesIO(base64.b64decode(images[0][0])))
        assert (image.format, image.size) == ("JPEG", (PICTURE_WIDTH, 240))
        assert np.asarray(image)[100, [10, -10], 0].tolist() == [0, 255]


class TestWriting:
    def test_replaces_the_page_that_is_there(self, tmp_path: Path) -> None:
        path = tmp_path / "report.html"
        path.write_text("old")
        results = found(clip("Übung \N{DOG}", scores(0.9)))
        write_report(path, results, [picture()])
        assert path.read_text(encoding="utf-8") == render(results, [picture()])
        assert list(tmp_path.iterdir()) == [path]

    def test_leaves_the_old_page_if_the_new_one_cannot_be_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "report.html"
        path.write_text("old")

        def fill_the_disk(self: Path, content: bytes) -> int:
            with self.open("wb") as file:
                file.write(content[:100])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", fill_the_disk)
        with pytest.raises(OutputError, match=r"report\.html: cannot be written: No space left"):
            write_report(path, found(clip("dog", scores(0.9))), [])
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_says_that_a_place_is_no_place_for_a_page(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").touch()
        results = found(clip("dog", scores(0.9)))
        for path in (tmp_path / "folder", tmp_path / "gone" / "a.html", tmp_path / "file" / "a"):
            with pytest.raises(OutputError, match="cannot be written"):
                write_report(path, results, [])
        assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder"]
