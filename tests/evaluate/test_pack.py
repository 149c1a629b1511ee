import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.evaluate.making import COUNT, predict_truth, write_davis16, write_davis17, write_youtube
from vostool.errors import InputError, MaskError, OutputError
from vostool.evaluate.pack import pack
from vostool.evaluate.protocols import open_benchmark
from vostool.media.masks import write_mask


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return sorted(archive.namelist())


def test_davis_has_a_folder_a_clip_at_the_top_with_all_frames(tmp_path: Path) -> None:
    root = write_davis17(tmp_path / "set", "a", "b")
    predictions = predict_truth(root, tmp_path / "made")
    pack(open_benchmark("davis17", root, "val"), predictions, tmp_path / "up.zip")
    assert names(tmp_path / "up.zip") == [
        f"{clip}/{index:05d}.png" for clip in "ab" for index in range(COUNT)
    ]


def test_youtube_vos_has_the_frames_of_meta_json_below_annotations(tmp_path: Path) -> None:
    root = write_youtube(tmp_path / "valid", whole_truth=True)
    made = root / "Annotations" / "a"
    (made / "00001.png").write_bytes(b"a frame between, which the server does not ask for")
    benchmark = open_benchmark("youtube-vos", tmp_path, "valid")
    pack(benchmark, made.parent, tmp_path / "up.zip")
    assert names(tmp_path / "up.zip") == [
        f"Annotations/a/{frame:05d}.png" for frame in range(0, 45, 5)
    ]


def test_masks_go_in_as_they_are(tmp_path: Path) -> None:
    root = write_davis17(tmp_path / "set", "a")
    predictions = predict_truth(root, tmp_path / "made")
    pack(open_benchmark("davis17", root, "val"), predictions, tmp_path / "up.zip")
    with zipfile.ZipFile(tmp_path / "up.zip") as archive:
        assert archive.read("a/00003.png") == (predictions / "a" / "00003.png").read_bytes()


def test_a_missing_mask_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    root = write_davis17(tmp_path / "set", "a")
    predictions = predict_truth(root, tmp_path / "made")
    (predictions / "a" / "00004.png").unlink()
    with pytest.raises(InputError, match=r"00004\.png: no such mask"):
        pack(open_benchmark("davis17", root, "val"), predictions, tmp_path / "up.zip")
    assert not list(tmp_path.glob("up.zip*"))


def test_an_existing_file_is_not_replaced(tmp_path: Path) -> None:
    root = write_davis17(tmp_path / "set", "a")
    predictions = predict_truth(root, tmp_path / "made")
    (tmp_path / "up.zip").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        pack(open_benchmark("davis17", root, "val"), predictions, tmp_path / "up.zip")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    root = write_davis17(tmp_path / "set", "a")
    predictions = predict_truth(root, tmp_path / "made")
    with pytest.raises(OutputError, match=r"up\.zip: cannot be written"):
        pack(open_benchmark("davis17", root, "val"), predictions, tmp_path / "no" / "up.zip")


def test_of_a_video_all_its_frames_are_wanted(tmp_path: Path) -> None:
    root = write_davis16(tmp_path / "set", "a")
    predictions = predict_truth(root, tmp_path / "made")
    (predictions / "a" / f"{COUNT - 1:05d}.png").unlink()  # the last is not scored, but wanted
    with pytest.raises(InputError, match=rf"{COUNT - 1:05d}\.png: no such mask"):
        pack(open_benchmark("davis16", root, "val"), predictions, tmp_path / "up.zip")


def test_a_mask_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    root = write_davis17(tmp_path / "set", "a")
    predictions = predict_truth(root, tmp_path / "made")
    write_mask(predictions / "a" / "00005.png", np.zeros((24, 64), np.uint8))
    with pytest.raises(MaskError, match=r"00005\.png: mask is 64x24"):
        pack(open_benchmark("davis17", root, "val"), predictions, tmp_path / "up.zip")
    assert not list(tmp_path.glob("up.zip*"))
