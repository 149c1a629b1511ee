from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import HEIGHT, WIDTH, ColourNetwork, Footage, draw
from tests.media.making import make_video, picture
from vostool.errors import InputError, MaskError, OutputError, UsageError
from vostool.first_mask.drawing import Drawing
from vostool.first_mask.make import MaskJob, MaskReport, make_mask
from vostool.inference.predictor import Predictor
from vostool.media.labels import PALETTE
from vostool.media.masks import read_mask, read_values, write_mask
from vostool.media.time_codes import TimeCode
from vostool.media.video import read_frames

WHOLE = Drawing.parse("polygon", f"1:0,0,{WIDTH},0,{WIDTH},{HEIGHT},0,{HEIGHT}")
PART = Drawing.parse("ellipse", "1:4,26,16,16")


def load() -> Predictor:
    network, cpu = ColourNetwork(), torch.device("cpu")
    return Predictor(network, Path("none"), cpu, torch.float32, size=HEIGHT)


def no_network() -> Predictor:
    raise AssertionError("no network is needed")


def make(video: Path, output: Path, *drawings: Drawing, **more: Any) -> MaskReport:
    job = MaskJob(video, output, drawings=drawings, **more)
    return make_mask(job, load if job.snap else no_network)


def test_the_mask_is_an_indexed_png_with_the_davis_palette(video: Footage, tmp_path: Path) -> None:
    out = tmp_path / "new" / "first.png"
    report = make(video.path, out, PART, Drawing.parse("polygon", "9:40,2,60,2,60,9"))
    with Image.open(out) as image:
        assert (image.mode, image.size) == ("P", (WIDTH, HEIGHT))
        assert bytes(image.getpalette() or ()) == PALETTE
    labels = read_values(out)
    assert np.unique(labels).tolist() == [0, 1, 9]
    pixels = [(each.id, each.pixels) for each in report.objects]
    assert pixels == [(id_, int(np.count_nonzero(labels == id_))) for id_ in (1, 9)]
    assert (report.frame, report.width, report.height) == (0, WIDTH, HEIGHT)
    assert report.warnings == []


@pytest.mark.parametrize("position", [3, TimeCode("0:00.13")])
def test_the_picture_to_paint_on_is_that_of_the_frame(
    position: Any, video: Footage, tmp_path: Path
) -> None:
    report = make(video.path, tmp_path / "frame.png", frame=position, frame_only=True)
    (frame,) = read_frames(video.path, 3, 4)
    with Image.open(tmp_path / "frame.png") as image:
        assert (np.asarray(image) == frame.rgb).all()
    assert (report.frame, report.objects) == (3, [])


def test_of_a_turned_video_the_mask_is_as_the_video_is_shown(tmp_path: Path) -> None:
    video = make_video(tmp_path / "turned.mp4", rotation=90)
    report = make(video, tmp_path / "m.png", Drawing.parse("polygon", "1:0,0,48,0,48,9"))
    assert (report.width, report.height) == (48, 64)
    assert read_values(tmp_path / "m.png").shape == (64, 48)


def test_a_folder_of_frames_is_a_video(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for index in range(3):
        Image.fromarray(picture(index)).save(tmp_path / "frames" / f"{index}.png")
    report = make(tmp_path / "frames", tmp_path / "m.png", PART, frame=2)
    assert report.frame == 2
    with pytest.raises(OutputError, match=r"would be a frame of .*frames; choose another -o"):
        make(tmp_path / "frames", tmp_path / "frames" / "m.png", PART)


def test_the_network_draws_a_rough_mask_tighter(video: Footage, tmp_path: Path) -> None:
    rough = Drawing.parse("polygon", "1:2,24,19,24,19,41,2,41")
    make(video.path, tmp_path / "m.png", rough, snap=True)
    found, truth = read_values(tmp_path / "m.png") == 1, video.labels[0] == 1
    assert (found & truth).sum() / (found | truth).sum() > 0.95


def test_repairs_come_one_after_the_other_to_each_object(video: Footage, tmp_path: Path) -> None:
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[10:30, 10:30] = 1
    labels[15:25, 15:25] = 0  # a hole, with another object and background in it
    labels[19:21, 19:21] = 2
    labels[40:42, 50:52] = 1  # a speck
    write_mask(tmp_path / "given.png", labels)
    changes = {"largest": True, "fill_holes": True, "grow": 1}
    make(video.path, tmp_path / "m.png", given=tmp_path / "given.png", **changes)
    found = read_values(tmp_path / "m.png")
    expected = np.zeros_like(labels)
    expected[10:30, 9:31] = expected[9:31, 10:30] = 1
    expected[19:21, 19:21] = 2
    assert (found == expected).all()


def test_shapes_are_painted_over_the_mask_that_is_given(video: Footage, tmp_path: Path) -> None:
    write_mask(tmp_path / "given.png", video.labels[0] * 5)
    made = make(
        video.path,
        tmp_path / "m.png",
        Drawing.parse("polygon", "2:4,26,11,26,11,41,4,41"),
        given=tmp_path / "given.png",
    )
    assert [(each.id, each.pixels) for each in made.objects] == [(2, 128), (5, 128)]


def test_a_cut_out_and_a_soft_matte_are_masks_to_start_from(video: Footage, tmp_path: Path) -> None:
    inside = video.labels[0] > 0
    rgba = np.dstack([draw(0)[0], np.where(inside, 255, 0).astype(np.uint8)])
    noise = np.random.default_rng(0).integers(0, 99, (*inside.shape, 3))
    rgba[..., :3] = (rgba[..., :3] + noise).clip(0, 255)
    Image.fromarray(rgba).save(tmp_path / "cut.png")
    make(video.path, tmp_path / "a.png", given=tmp_path / "cut.png")
    assert (read_values(tmp_path / "a.png") == inside).all()
    soft = np.where(inside, 200, 60).astype(np.uint8)
    Image.fromarray(soft).save(tmp_path / "soft.png")
    make(video.path, tmp_path / "b.png", given=tmp_path / "soft.png", threshold=0.5)
    assert (read_values(tmp_path / "b.png") == inside).all()


def test_what_may_be_wrong_is_reported(video: Footage, tmp_path: Path) -> None:
    report = make(
        video.path, tmp_path / "m.png", PART, WHOLE, Drawing.parse("ellipse", "2:4,4,9,9")
    )
    assert len(report.warnings) == 1
    assert "object 1 covers" in report.warnings[0]
    hidden = make(video.path, tmp_path / "n.png", Drawing.parse("ellipse", "2:9,9,9,9"), WHOLE)
    assert hidden.warnings[0] == "object 2: later shapes hide all of it"


def test_an_object_that_shrinks_to_nothing_is_reported_and_all_of_them_refused(
    video: Footage, tmp_path: Path
) -> None:
    small = Drawing.parse("ellipse", "2:40,4,6,6")
    report = make(video.path, tmp_path / "m.png", PART, small, grow=-4)
    assert report.warnings == ["object 2: --grow -4 leaves nothing of it"]
    with pytest.raises(MaskError, match="--grow -4: nothing is left"):
        make(video.path, tmp_path / "n.png", small, grow=-4)
    assert not (tmp_path / "n.png").exists()


def test_a_result_is_replaced_only_on_request(video: Footage, tmp_path: Path) -> None:
    out = tmp_path / "m.png"
    out.write_text("mine")
    with pytest.raises(OutputError, match=r"m\.png: exists already"):
        make(video.path, out, PART)
    assert out.read_text() == "mine"
    make(video.path, out, PART, overwrite=True)
    assert read_mask(out).any()


def test_the_video_is_never_replaced(tmp_path: Path) -> None:
    video = make_video(tmp_path / "v.mp4").rename(tmp_path / "v.png")
    with pytest.raises(OutputError, match=r"v\.png: is an input"):
        make(video, video, PART, overwrite=True)


def test_a_frame_after_the_end_is_an_input_error(video: Footage, tmp_path: Path) -> None:
    for position in (8, TimeCode("1:00")):
        with pytest.raises(InputError, match="cannot start at frame 8, it has 8 frames"):
            make(video.path, tmp_path / "m.png", PART, frame=position)


def test_shapes_that_cover_no_pixel_are_a_usage_error(video: Footage, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to make a mask of: the shapes cover no pixel"):
        make(video.path, tmp_path / "m.png", Drawing.parse("ellipse", "1:4,4,0.2,0.2"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "nothing to make a mask of: expected --polygon, --box, --ellipse or --from"),
        ({"snap": True}, "nothing to make a mask of"),
        ({"drawings": (PART,), "threshold": 0.5}, "expected a soft mask as --from"),
        ({"drawings": (PART,), "frame_only": True}, "--frame-only writes the picture alone"),
        ({"grow": 2, "frame_only": True}, "--frame-only writes the picture alone"),
        (
            {"drawings": (PART,), "output": Path("m.jpg")},
            r"-o m\.jpg: expected a name that ends in",
        ),
    ],
)
def test_options_that_make_no_sense_are_a_usage_error(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        MaskJob(**{"video": Path("v.mp4"), "output": Path("m.png"), **options})
