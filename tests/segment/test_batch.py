import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import FRAMES, HEIGHT, ColourNetwork, film
from tests.test_cli import Call, vostool  # noqa: F401
from vostool.errors import InputError, UsageError
from vostool.segment.batch import read_batch
from vostool.segment.job import Job

PATTERN = Job(Path(), (), Path("out"))


def write_table(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


class TestTheTable:
    def test_names_videos_masks_and_ranges(self, tmp_path: Path) -> None:
        table = write_table(
            tmp_path / "t.csv",
            "video,mask,start,end,output",
            "a.mp4,a.png,,,",
            "b.mp4, b.png;7:late.png ,3,9,there",
        )
        first, second = read_batch(table, PATTERN)
        assert first == replace(
            PATTERN,
            video=tmp_path / "a.mp4",
            masks=(str(tmp_path / "a.png"),),
            output=Path("out/a"),
        )
        assert second.masks == (str(tmp_path / "b.png"), f"7:{tmp_path / 'late.png'}")
        assert (second.start, second.end, second.output) == (3, 9, Path("out/there"))

    @pytest.mark.parametrize(
        ("lines", "words"),
        [
            ((), "expected a header such as video,mask"),
            (("video,mask",), "a line for each video"),
            (("video,mask,colour", "a,b,red"), "found 'colour'"),
            (("video,mask", "a.mp4,"), ":2: expected a mask, found none"),
            (("mask,start", "a.png,1"), ":2: expected a video, found none"),
            (("video,mask,end", "a,b,soon"), "expected a frame number as end, found soon"),
            (("video,mask,start,end", "a,b,4,4"), "start 4, end 4: the range is empty"),
            (("video,mask", "a,b", "", "a,b,c"), ":4: expected 2 cells as in the header, found 3"),
            (("video,mask", "a,b,"), ":2: expected 2 cells as in the header, found 3"),
            (("video,mask,mask", "a,b,c"), ":1: expected each column once, found mask twice"),
            (("video,mask", "a.mp4,;"), ":2: expected a mask, found ;"),
            (("video,mask,end", f"a,b,{'9' * 5000}"), ":2: expected a frame number as end"),
            (("video,mask", "a\0,b"), ":2: expected text, found a zero byte"),
            (("video,mask", 'a,"b'), ":2: expected a CSV table"),
        ],
    )
    def test_is_refused_with_its_line(
        self, tmp_path: Path, lines: tuple[str, ...], words: str
    ) -> None:
        with pytest.raises(InputError) as refusal:
            read_batch(write_table(tmp_path / "t.csv", *lines), PATTERN)
        assert words in str(refusal.value)

    def test_gives_each_video_a_place_of_its_own(self, tmp_path: Path) -> None:
        table = write_table(tmp_path / "t.csv", "video,mask", "one/a.mp4,m.png", "two/a.mp4,m.png")
        with pytest.raises(UsageError, match="would both write out/a"):
            read_batch(table, PATTERN)

    def test_must_be_there_and_be_text(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="cannot be read"):
            read_batch(tmp_path / "none.csv", PATTERN)
        (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(InputError, match="expected a CSV table"):
            read_batch(tmp_path / "t.csv", PATTERN)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three videos, of which the second is none."""
    for name in ("a", "c"):
        film(tmp_path / f"{name}.mp4", tmp_path / f"{name}.png")
    (tmp_path / "b.mp4").write_text("no video")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    return write_table(
        tmp_path / "t.csv", "video,mask", "a.mp4,a.png", "b.mp4,b.png", "c.mp4,c.png"
    )


class TestABatch:
    @pytest.fixture(autouse=True)
    def by_colour(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "vostool.inference.predictor.load_checkpoint", lambda *_: ColourNetwork()
        )

    def test_goes_on_past_a_video_that_fails_and_says_so_at_the_end(
        self,
        vostool: Call,  # noqa: F811
        table: Path,
        weights: Path,
    ) -> None:
        model = ("--weights", weights, "--device", "cpu", "--size", HEIGHT)
        outcome = vostool("segment", "--batch", table, "-o", "all", *model)
        assert outcome.code == 3
        assert outcome.out.splitlines() == [
            "all/a/masks",
            "all/a/overlay.mp4",
            "all/c/masks",
            "all/c/overlay.mp4",
        ]
        assert "b.mp4" in outcome.err
        assert outcome.err.splitlines()[-1].endswith("1 of 3 videos failed, see above")
        assert len(list(Path("all/c/masks").iterdir())) == FRAMES

    def test_does_not_repeat_what_is_done_by_the_same_options(
        self,
        vostool: Call,  # noqa: F811
        table: Path,
        weights: Path,
    ) -> None:
        model = ("--weights", weights, "--device", "cpu", "--size", HEIGHT)
        vostool("segment", "--batch", table, "-o", "all", *model)
        stamp = Path("all/a/run.json").stat().st_mtime_ns
        film(table.with_name("b.mp4"), table.with_name("b.png"))
        again = vostool("segment", "--batch", table, "-o", "all", *model, "--json")
        assert again.code == 0
        assert [report["frames"] for report in json.loads(again.out)] == [FRAMES] * 3
        assert Path("all/a/run.json").stat().st_mtime_ns == stamp
        other = vostool("segment", "--batch", table, "-o", "all", *model[:-1], 32)
        assert other.code == 7
        assert other.err.count("exists already") == 3

    @pytest.mark.parametrize("more", [("video.mp4",), ("--mask", "m.png"), ("--demo",)])
    def test_brings_its_own_videos(
        self,
        vostool: Call,  # noqa: F811
        table: Path,
        more: tuple[str, ...],
    ) -> None:
        outcome = vostool("segment", *more, "--batch", table)
        assert (outcome.code, outcome.out) == (2, "")
