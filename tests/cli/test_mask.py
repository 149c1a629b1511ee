"""`vostool mask` as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import HEIGHT, WIDTH, ColourNetwork, Footage
from tests.test_cli import Call, segment, vostool  # noqa: F401
from vostool.media.masks import read_values, write_mask

PART = ("--ellipse", "3:4,26,16,16")


def test_mask_prints_the_path_and_says_what_is_in_the_mask(
    vostool: Call, video: Footage  # noqa: F811
) -> None:  # fmt: skip
    outcome = vostool("mask", video.path, *PART, "-o", "first.png")
    assert (outcome.code, outcome.out) == (0, "first.png\n")
    pixels = np.count_nonzero(read_values(Path("first.png")) == 3)
    assert outcome.err == f"frame 0, {WIDTH}x{HEIGHT}\nobject 3: {pixels} pixels\n"


def test_mask_and_picture_are_named_after_the_video(
    vostool: Call, video: Footage  # noqa: F811
) -> None:  # fmt: skip
    assert vostool("mask", video.path, *PART, "-q").out == "square-mask.png\n"
    outcome = vostool("mask", video.path, "--frame-only", "-q")
    assert (outcome.out, outcome.err) == ("square-frame.png\n", "")


def test_shapes_of_several_kinds_are_painted_in_the_order_that_they_are_given(
    vostool: Call, video: Footage  # noqa: F811
) -> None:  # fmt: skip
    front = ("--polygon", "1:0,0,40,0,40,40,0,40")
    behind = "--ellipse=2:10,10,20,20"
    last = ("--polygon", "4:0,0,5,0,5,5")
    assert vostool("mask", video.path, *front, behind, *last, "-o", "a.png").code == 0
    assert vostool("mask", video.path, behind, *last, *front, "-o", "b.png").code == 0
    assert np.unique(read_values(Path("a.png"))).tolist() == [0, 1, 2, 4]
    assert np.unique(read_values(Path("b.png"))).tolist() == [0, 1]


def test_segment_follows_from_the_mask_that_was_made(
    segment: Call, vostool: Call, video: Footage  # noqa: F811
) -> None:  # fmt: skip
    rough = ("--polygon", "1:4,26,19,26,19,41,4,41")
    assert vostool("mask", video.path, *rough).code == 0
    assert segment(video.path, "--mask", "square-mask.png").code == 0
    found = read_values(Path("square/masks/00007.png")) > 0
    truth = video.labels[7] > 0
    assert (found & truth).sum() / (found | truth).sum() > 0.9


def test_a_mask_is_snapped_by_the_network_of_the_model_options(
    vostool: Call, video: Footage, weights: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    monkeypatch.setattr("vostool.inference.loading.load_checkpoint", lambda *_: ColourNetwork())
    rough = ("--polygon", "1:2,24,19,24,19,41,2,41", "--snap")
    model = ("--weights", weights, "--device", "cpu", "--size", HEIGHT)
    assert vostool("mask", video.path, *rough, *model).code == 0
    found = read_values(Path("square-mask.png")) > 0
    assert (found != (video.labels[0] > 0)).mean() < 0.01


def test_mask_prints_one_json_document_on_request(
    vostool: Call, video: Footage, tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    shape = {"label": "cat", "points": [[1, 1], [9, 1], [9, 9]]}
    (tmp_path / "labels.json").write_text(json.dumps({"shapes": [shape]}))
    outcome = vostool("mask", video.path, "--from", tmp_path / "labels.json", "--json")
    report = json.loads(outcome.out)
    assert report["output"] == "square-mask.png"
    assert [(each["id"], each["name"]) for each in report["objects"]] == [(1, "cat")]
    assert "object 1 (cat): " in outcome.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "nothing to make a mask of: expected --polygon, --box, --ellipse or --from"),
        (("--polygon", "1:1,1,9,9"), 2, "--polygon 1:1,1,9,9: expected ID:x,y,x,y,x,y"),
        (("--polygon", "1:1,1,900,9,9,9"), 2, "900,9 lies out of the frame of 64x48"),
        (("--box", "1:-3,4,9,9"), 2, "-3,4 lies out of the frame"),
        (("--box", f"1:0,0,{WIDTH},{HEIGHT}"), 4, "draw a smaller box, or a --polygon instead"),
        ((*PART, "--frame", "x"), 2, "--frame x: expected the number of a frame, from 0, or a"),
        ((*PART, "--frame", "9"), 3, "cannot start at frame 9, it has 8 frames"),
        ((*PART, "--frame-only"), 2, "--frame-only writes the picture alone"),
        ((*PART, "-o", "m.gif"), 2, "-o m.gif: expected a name that ends in .png"),
        ((*PART, "-o", "there.png"), 7, "there.png: exists already; choose another -o or give"),
        (("--from", "missing.png"), 4, "missing.png: no such mask file"),
        (("--from", "there.png"), 4, "there.png: mask is 3x4, video is 64x48"),
        ((*PART, "--grow", "-30"), 4, "--grow -30: nothing is left"),
        ((*PART, "--grow", "much"), 2, "--grow"),
    ],
)
def test_what_no_mask_can_be_made_of_ends_with_one_line_and_its_code(
    arguments: tuple[str, ...], code: int, words: str, vostool: Call, video: Footage  # noqa: F811
) -> None:  # fmt: skip
    write_mask(Path("there.png"), np.ones((4, 3), np.uint8))
    outcome = vostool("mask", video.path, *arguments)
    assert (outcome.code, outcome.out) == (code, "")
    assert words in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert sorted(path.name for path in Path().iterdir()) == ["there.png"]


def test_torch_is_not_imported_where_no_network_is_needed(video: Footage, tmp_path: Path) -> None:
    code = (
        "import sys; from vostool.cli import main;"
        f"sys.argv = ['vostool', 'mask', {str(video.path)!r}, '--ellipse', '1:4,26,16,16'];"
        "main(); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert (tmp_path / "square-mask.png").exists()
