from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vostool.errors import InputError
from vostool.media.video import probe, read_frames


def save(path: Path, value: int = 0, size: tuple[int, int] = (12, 8)) -> None:
    Image.new("RGB", size, (value, value, value)).save(path)


def test_images_come_in_natural_order_at_25_per_second(tmp_path: Path) -> None:
    for number in (10, 9, 1, 100):
        save(tmp_path / f"shot{number}.png", number)
    frames = list(read_frames(tmp_path))
    assert [frame.name for frame in frames] == ["shot1", "shot9", "shot10", "shot100"]
    assert [frame.time for frame in frames] == [Fraction(i, 25) for i in range(4)]
    assert [frame.rgb[0, 0, 0] for frame in frames] == [1, 9, 10, 100]


def test_a_range_keeps_the_numbers_of_the_whole(tmp_path: Path) -> None:
    for number in range(5):
        save(tmp_path / f"{number}.png", number)
    assert [(f.index, f.rgb[0, 0, 0]) for f in read_frames(tmp_path, 1, 3)] == [(1, 1), (2, 2)]


def test_other_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    save(tmp_path / "a.PNG")
    save(tmp_path / "._b.png")
    (tmp_path / "notes.txt").write_text("x")
    assert len(list(read_frames(tmp_path))) == 1


def test_is_probed(tmp_path: Path) -> None:
    for number in range(5):
        save(tmp_path / f"{number}.jpg")
    info = probe(tmp_path)
    assert (info.width, info.height, info.frames) == (12, 8, 5)
    assert info.rate == 25
    assert (info.codec, info.seconds, info.has_audio) == ("jpg", 0.2, False)


def test_photos_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn clockwise
    Image.new("RGB", (12, 8)).save(tmp_path / "phone.jpg", exif=exif)
    assert next(read_frames(tmp_path)).rgb.shape == (12, 8, 3)
    assert (probe(tmp_path).width, probe(tmp_path).height) == (8, 12)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    kind = "tif" if mode == "CMYK" else "png"
    Image.new("RGB", (4, 4), "white").convert(mode).save(tmp_path / f"a.{kind}")
    rgb = next(read_frames(tmp_path)).rgb
    assert rgb.shape == (4, 4, 3)
    assert (rgb == 255).all()


def test_16_bits_are_brought_down_to_8(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 0x8040, np.uint16)).save(tmp_path / "deep.png")
    assert (next(read_frames(tmp_path)).rgb == 0x80).all()


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"expected images .*, found none"):
        list(read_frames(tmp_path))


def test_another_size_is_refused_by_name(tmp_path: Path) -> None:
    save(tmp_path / "0.png")
    save(tmp_path / "1.png", size=(9, 8))
    frames = read_frames(tmp_path)
    next(frames)
    with pytest.raises(InputError, match=r"1\.png: image is 9x8, expected 12x8 like 0\.png"):
        next(frames)


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "0.png")
    save(tmp_path / "0.jpg")
    with pytest.raises(InputError, match="are both frame 0"):
        list(read_frames(tmp_path))


def test_a_broken_image_is_refused_by_name(tmp_path: Path) -> None:
    save(tmp_path / "0.png", size=(99, 99))
    (tmp_path / "0.png").write_bytes((tmp_path / "0.png").read_bytes()[:60])
    with pytest.raises(InputError, match=r"0\.png: cannot be read as an image"):
        list(read_frames(tmp_path))


def test_a_start_beyond_the_last_image_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "0.png")
    with pytest.raises(InputError, match="cannot start at frame 3, it has 1 frames"):
        list(read_frames(tmp_path, 3))


def test_a_folder_of_mostly_unreadable_pictures_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "preview.jpg")
    for name in ("0.CR2", "1.CR2"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"2 of 3 pictures are of kinds .* first 0\.CR2; convert"):
        probe(tmp_path)


def test_exr_frames_are_not_passed_over_for_a_preview(tmp_path: Path) -> None:
    (tmp_path / "0.exr").write_bytes(b"v/1\x01" + bytes(99))
    save(tmp_path / "preview.jpg")
    with pytest.raises(InputError, match=r"0\.exr: cannot be read as an image"):
        probe(tmp_path)
