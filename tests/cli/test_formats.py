"""What `vostool segment` writes, as the command line says it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import FRAMES, Footage
from tests.test_cli import Call, segment, vostool
from vostool.cli.formats import KINDS
from vostool.errors import UsageError
from vostool.media.masks import read_mask
from vostool.media.video import read_frames
from vostool.segment.writers import WRITERS, check_outputs, every_output, file_of

__all__ = ["segment", "vostool"]  # fixtures


class TestWrite:
    def test_takes_the_place_of_the_default(
        self, segment: Call, video: Footage, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        assert segment(video.path, "--mask", video.mask, "-o", out, "--write", "masks").code == 0
        assert not (out / "overlay.mp4").exists()
        assert len(list((out / "masks").iterdir())) == FRAMES

    @pytest.mark.parametrize(
        ("options", "written"),
        [
            (["--write", "cutouts"], ["cutouts"]),
            (["--write", "masks,cutouts"], ["masks", "cutouts"]),
            (["--write", "masks", "--write", "cutouts"], ["masks", "cutouts"]),
            (["--write", "masks,overlay", "--no-masks"], ["overlay.mp4"]),
            (["--write", "masks", "--cutouts", "--overlay"], ["masks", "overlay.mp4", "cutouts"]),
        ],
    )
    def test_lists_kinds_to_which_short_forms_add_and_from_which_they_take(
        self, options: list[str], written: list[str], segment: Call, video: Footage, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        outcome = segment(video.path, "--mask", video.mask, "-o", out, *options)
        assert sorted(outcome.out.splitlines()) == sorted(str(out / name) for name in written)
        report = json.loads((out / "run.json").read_text())
        listed = [report[name] for name in WRITERS if report.get(name)]
        assert sorted(listed) == sorted(outcome.out.splitlines())

    def test_help_lists_every_kind_and_file(self, vostool: Call) -> None:
        outcome = vostool("segment", "--write", "help")
        assert outcome.code == 0
        assert outcome.err == ""
        for kind in WRITERS:
            assert f" {kind}" in outcome.out
        for name in every_output():
            assert file_of(name) in outcome.out

    @pytest.mark.parametrize(
        "wrong", ["films", "masks,films", "masks=16", ",", "masks,", "=", "a=b"]
    )
    def test_of_what_does_not_exist_is_a_usage_error_that_says_what_does(
        self, wrong: str, vostool: Call, video: Footage
    ) -> None:
        outcome = vostool("segment", video.path, "--mask", video.mask, "--write", wrong)
        assert outcome.code == UsageError.exit_code
        assert "expected" in outcome.err
        assert len(outcome.err.splitlines()) == 1
        assert not Path("square").exists()

    def test_of_nothing_is_a_usage_error(self, vostool: Call, video: Footage) -> None:
        given = ("--write", "masks", "--no-masks")
        outcome = vostool("segment", video.path, "--mask", video.mask, *given)
        assert outcome.code == UsageError.exit_code
        assert outcome.err == "vostool: --no-masks: nothing is left to write\n"

    def test_in_a_batch_is_a_column(self, segment: Call, video: Footage, tmp_path: Path) -> None:
        table = tmp_path / "jobs.csv"
        table.write_text(
            "video,mask,output,write\n"
            f"{video.path},{video.mask},one,masks;cutouts\n"
            f"{video.path},{video.mask},two,\n"
        )
        out = tmp_path / "all"
        assert segment("--batch", table, "-o", out, "--write", "overlay").code == 0
        made = {str(path.relative_to(out)) for path in out.glob("*/*")}
        assert made - {"one/.state", "one/.soft"} == {
            "one/masks", "one/cutouts", "one/run.json", "two/overlay.mp4", "two/run.json"
        }  # fmt: skip

    def test_in_a_batch_that_does_not_exist_names_the_line(
        self, segment: Call, video: Footage, tmp_path: Path
    ) -> None:
        table = tmp_path / "jobs.csv"
        table.write_text(f"video,mask,write\n{video.path},{video.mask},films\n")
        outcome = segment("--batch", table, "-o", tmp_path / "all")
        assert outcome.code == 3
        assert "jobs.csv:2: expected outputs among masks" in outcome.err


@pytest.mark.parametrize("name", tuple(every_output()))
def test_no_two_outputs_share_a_file(name: str) -> None:
    assert [file_of(other) for other in every_output()].count(file_of(name)) == 1
    check_outputs([name])


class TestAnEffect:
    @pytest.mark.parametrize("target", ["objects", "background", "1"])
    def test_hides_all_of_its_target_and_nothing_far_from_it(
        self, target: str, segment: Call, video: Footage, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        given = ("--write", "masks,effect=colour:#00ff00", "--effect-on", target)
        assert segment(video.path, "--mask", video.mask, "-o", out, *given).code == 0
        for shown, plain in zip(
            read_frames(out / "effect.mp4"), read_frames(video.path), strict=True
        ):
            labels = read_mask(out / "masks" / f"{shown.name}.png") > 0
            hidden = ~labels if target == "background" else labels
            inner = cv2.erode(hidden.astype(np.uint8), np.ones((5, 5))) > 0  # lossy colours
            assert np.abs(shown.rgb[inner].astype(int) - (0, 255, 0)).max() < 60
            far = cv2.dilate(hidden.astype(np.uint8), np.ones((25, 25))) == 0
            if target != "background":
                assert np.abs(shown.rgb[far].astype(int) - plain.rgb[far]).mean() < 6

    @pytest.mark.parametrize("target", ["7", "0", "nothing"])
    def test_on_what_no_mask_shows_is_a_usage_error(
        self, target: str, segment: Call, video: Footage, tmp_path: Path
    ) -> None:
        given = ("--write", "effect=blur", "--effect-on", target, "-o", tmp_path / "out")
        outcome = segment(video.path, "--mask", video.mask, *given)
        assert outcome.code == UsageError.exit_code
        assert len(outcome.err.splitlines()) == 1
        assert not (tmp_path / "out").exists()


class TestFinishing:
    def test_changes_what_is_written_and_not_what_is_remembered(
        self, segment: Call, video: Footage, tmp_path: Path
    ) -> None:
        given = (video.path, "--mask", video.mask)
        plain, grown = tmp_path / "plain", tmp_path / "grown"
        assert segment(*given, "-o", plain).code == 0
        assert segment(*given, "-o", grown, "--finish", "grow=2").code == 0
        for index in range(FRAMES):
            name = f"masks/{index:05d}.png"
            thin, thick = read_mask(plain / name) > 0, read_mask(grown / name) > 0
            disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
            assert (thick >= cv2.dilate(thin.astype(np.uint8), disc)).all()
            assert thick.sum() < 1.8 * thin.sum(), "it does not grow from frame to frame"

    def test_is_not_done_twice_to_frames_that_are_kept(
        self, segment: Call, video: Footage, tmp_path: Path
    ) -> None:
        given = (video.path, "--mask", video.mask, "--finish", "grow=2", "--write", "masks,cutouts")
        assert segment(*given, "-o", tmp_path / "whole").code == 0
        assert segment(*given, "-o", tmp_path / "out", "--end", 5).code == 0
        assert segment(*given, "-o", tmp_path / "out", "--resume").code == 0
        for path in (tmp_path / "whole").glob("*/*.png"):
            other = tmp_path / "out" / path.relative_to(tmp_path / "whole")
            assert path.read_bytes() == other.read_bytes(), path

    @pytest.mark.parametrize(
        "given", [("--finish", "shrink=2"), ("--names", "horse"), ("--names", "1=a,1=b")]
    )
    def test_and_names_that_are_not_valid_are_usage_errors(
        self, given: tuple[str, str], segment: Call, video: Footage, tmp_path: Path
    ) -> None:
        outcome = segment(video.path, "--mask", video.mask, "-o", tmp_path / "out", *given)
        assert outcome.code == UsageError.exit_code
        assert len(outcome.err.splitlines()) == 1


def test_names_are_in_the_exports(segment: Call, video: Footage, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = ("--write", "coco,table", "--names", "1=horse", "-o", out)
    assert segment(video.path, "--mask", video.mask, *given).code == 0
    assert json.loads((out / "coco.json").read_text())["categories"][0]["name"] == "horse"
    assert ",1,horse," in (out / "table.csv").read_text()


@pytest.mark.parametrize(
    "given",
    [
        ("--opacity", "2"),
        ("--palette", "rainbow"),
        ("--codec", "mjpeg"),
        ("--crf", "52"),
        ("--write", "preview"),
        ("--write", "effect=colour:red"),
        ("--write", "effect=blur,effect=black"),
    ],
)
def test_a_look_that_is_not_valid_is_a_usage_error(
    given: tuple[str, str], segment: Call, video: Footage, tmp_path: Path
) -> None:
    outcome = segment(video.path, "--mask", video.mask, "-o", tmp_path / "out", *given)
    assert outcome.code == UsageError.exit_code
    assert not (tmp_path / "out").exists()


def test_the_shell_is_offered_every_kind_and_variant() -> None:
    names = [
        f"{kind}={variant}" if variant else kind
        for kind, writer in WRITERS.items()
        for variant in writer.variants
    ]
    assert sorted(KINDS) == sorted(names)
