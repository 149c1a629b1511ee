import io
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vostool.errors import MaskError, OutputError
from vostool.media.masks import (
    PALETTE,
    encode_mask,
    read_mask,
    read_values,
    write_mask,
)


def two_objects(height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    labels = np.zeros((height, width), np.uint8)
    labels[10:30, 10:30] = 1
    labels[20:40, 30:50] = 2
    return labels


class TestFiles:
    def test_come_back_as_they_were(self, tmp_path: Path) -> None:
        labels = np.arange(255, dtype=np.uint8).reshape(15, 17)
        write_mask(tmp_path / "m.png", labels)
        assert (read_mask(tmp_path / "m.png") == labels).all()

    def test_are_indexed_png_in_the_colours_of_davis(self) -> None:
        image = Image.open(io.BytesIO(encode_mask(two_objects())))
        assert (image.format, image.mode) == ("PNG", "P")
        assert image.getpalette() == list(PALETTE)
        assert image.convert("RGB").getpixel((12, 12)) == (128, 0, 0)
        assert image.convert("RGB").getpixel((35, 35)) == (0, 128, 0)

    def test_are_atomic_write_or_not_at_all(self, tmp_path: Path) -> None:
        write_mask(tmp_path / "m.png", two_objects())
        write_mask(tmp_path / "m.png", two_objects() * 3)
        assert read_mask(tmp_path / "m.png").max() == 6
        assert [path.name for path in tmp_path.iterdir()] == ["m.png"]
        with pytest.raises(OutputError, match="cannot be written: No such file or directory"):
            write_mask(tmp_path / "missing" / "m.png", two_objects())

    def test_are_encoded_fast(self) -> None:
        labels = two_objects(480, 854)
        begin = time.process_time()
        for _ in range(10):
            encode_mask(labels)
        assert time.process_time() - begin < 0.5  # 20 a second at worst; 1000 are usual


class TestRefusals:
    def refusal(self, path: Path, width: int | None = None, height: int | None = None) -> str:
        with pytest.raises(MaskError) as caught:
            read_mask(path, width, height)
        assert str(caught.value).startswith(f"{path}: ")
        return str(caught.value)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        assert "no such mask file" in self.refusal(tmp_path / "m.png")

    def test_a_file_that_is_no_image(self, tmp_path: Path) -> None:
        (tmp_path / "m.png").write_text("mask")
        assert "cannot be read as an image" in self.refusal(tmp_path / "m.png")

    def test_a_folder(self, tmp_path: Path) -> None:
        assert "cannot be read as an image" in self.refusal(tmp_path)

    def test_half_an_image(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 3, (99, 99), np.uint8)
        data = encode_mask(noise)
        (tmp_path / "m.png").write_bytes(data[: len(data) // 2])
        assert "cannot be read as an image" in self.refusal(tmp_path / "m.png")

    def test_another_size_than_the_video(self, tmp_path: Path) -> None:
        write_mask(tmp_path / "m.png", two_objects())
        assert "mask is 64x48, video is 854x480" in self.refusal(tmp_path / "m.png", 854, 480)
        assert read_mask(tmp_path / "m.png", 64, 48).any()

    def test_no_object(self, tmp_path: Path) -> None:
        write_mask(tmp_path / "m.png", np.zeros((4, 4), np.uint8))
        assert "expected at least one object" in self.refusal(tmp_path / "m.png")
        assert not read_mask(tmp_path / "m.png", allow_empty=True).any()


class TestValuesForEvaluation:
    def values(self, image: Image.Image, folder: Path) -> list[int]:
        image.save(folder / "m.png")
        values = read_values(folder / "m.png")
        assert values.dtype == np.uint8
        assert values.shape == (image.height, image.width)
        return np.unique(values).tolist()

    def refusal(self, path: Path) -> str:
        with pytest.raises(MaskError) as caught:
            read_values(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        return message.removeprefix(f"{path}: ")

    def test_are_as_stored_in_indices_and_greys(self, tmp_path: Path) -> None:
        labels = np.zeros((48, 64), np.uint8)
        labels[:3, :4] = [1, 7, 254, 255]
        assert self.values(Image.fromarray(labels), tmp_path) == [0, 1, 7, 254, 255]
        (tmp_path / "m.png").write_bytes(encode_mask(labels))
        assert (read_values(tmp_path / "m.png") == labels).all()

    def test_of_indices_do_not_mind_colours_or_transparency(self, tmp_path: Path) -> None:
        image = Image.fromarray(two_objects())
        image.putpalette([200, 100, 0, 0, 0, 0, 9, 9, 9])
        image.info["transparency"] = 1
        assert self.values(image, tmp_path) == [0, 1, 2]

    def test_of_few_indices_may_be_packed(self, tmp_path: Path) -> None:
        image = Image.fromarray(two_objects())
        image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        image.save(tmp_path / "m.png", bits=2)
        assert (read_values(tmp_path / "m.png") == two_objects()).all()

    def test_come_from_equal_channels_and_from_single_bits(self, tmp_path: Path) -> None:
        grey = Image.fromarray(two_objects() * 100)
        assert self.values(grey.convert("RGB"), tmp_path) == [0, 100, 200]
        assert self.values(grey.point(lambda v: 255 * (v > 0)).convert("1"), tmp_path) == [0, 255]

    @pytest.mark.parametrize(
        ("mode", "found"),
        [("RGBA", "mode RGBA"), ("LA", "mode LA"), ("I;16", "mode I;16")],
    )
    def test_of_another_kind_are_refused(self, tmp_path: Path, mode: str, found: str) -> None:
        Image.fromarray(two_objects()).convert(mode).save(tmp_path / "m.png")
        expected = f"expected an indexed or 8-bit grey PNG, found {found}"
        assert self.refusal(tmp_path / "m.png") == expected

    def test_in_colours_are_refused(self, tmp_path: Path) -> None:
        Image.fromarray(np.stack([two_objects(), *[two_objects() * 0] * 2], axis=2)).save(
            tmp_path / "m.png"
        )
        assert self.refusal(tmp_path / "m.png").endswith("8-bit grey PNG, found colours")

    def test_of_missing_and_broken_files_are_refused(self, tmp_path: Path) -> None:
        assert self.refusal(tmp_path / "m.png") == "no such mask file"
        assert self.refusal(tmp_path).startswith("cannot be read as a PNG: ")
        whole = encode_mask(two_objects())
        broken = [whole[:size] for size in range(0, len(whole) - 40, 3)]  # pixels are missing
        broken += [whole[:40] + b"????" + whole[44:], whole[:-40] + b"????" + whole[-36:]]
        for content in broken:
            (tmp_path / "m.png").write_bytes(content)
            assert self.refusal(tmp_path / "m.png").startswith("cannot be read as a PNG: ")

    def test_of_jpegs_are_refused(self, tmp_path: Path) -> None:
        Image.fromarray(two_objects()).save(tmp_path / "m.png", "JPEG")
        assert self.refusal(tmp_path / "m.png").startswith("cannot be read as a PNG: ")

    def test_are_read_fast(self, tmp_path: Path) -> None:
        write_mask(tmp_path / "m.png", two_objects(480, 854))
        begin = time.process_time()
        for _ in range(10):
            read_values(tmp_path / "m.png")
        assert time.process_time() - begin < 0.2  # 50 a second at worst; 600 are usual
