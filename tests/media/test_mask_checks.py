"""Masks that may not mean what they say: refused with advice, or taken with a warning."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from vostool.errors import MaskError
from vostool.media.labels import PALETTE
from vostool.media.masks import read_mask
from vostool.media.overlay import write_cutout

Array = NDArray[np.uint8]
DISC = np.hypot(*np.mgrid[-24:24, -32:32]) < 14


def rim(inside: int, edge: int, ground: int = 0) -> Array:
    """Return a disc with a rim, as a trimap has it."""
    wider = np.hypot(*np.mgrid[-24:24, -32:32]) < 17
    return np.where(DISC, inside, np.where(wider, edge, ground)).astype(np.uint8)


def disc(inside: int, ground: int = 0) -> Array:
    return np.where(DISC, inside, ground).astype(np.uint8)


def painted(inside: tuple[int, ...], ground: tuple[int, ...]) -> Array:
    return np.where(DISC[..., np.newaxis], inside, ground).astype(np.uint8)


def soft() -> NDArray[np.float64]:
    """Return a disc with soft edges, from 0 to 1; 0.5 where the disc ends."""
    return np.clip((14 - np.hypot(*np.mgrid[-24:24, -32:32])) / 8 + 0.5, 0, 1)


class Reader:
    """Reads a mask of an image; keeps the warnings."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.warnings = folder, list[str]()

    def __call__(
        self,
        stored: Array | Image.Image | NDArray[np.float32] | NDArray[np.uint16],
        suffix: str = "png",
        threshold: float | None = None,
        **options: object,
    ) -> Array:
        path = self.folder / f"m.{suffix}"
        image = stored if isinstance(stored, Image.Image) else Image.fromarray(stored)
        image.save(path, **options)  # type: ignore[arg-type]
        self.warnings.clear()
        labels = read_mask(path, threshold=threshold, warnings=self.warnings)
        assert all(warning.startswith(f"{path}: ") for warning in self.warnings)
        return labels

    def refusal(self, stored: Array | NDArray[np.float32], suffix: str = "png") -> str:
        with pytest.raises(MaskError) as caught:
            self(stored, suffix)
        message = str(caught.value)
        assert message.startswith(str(self.folder))
        assert "\n" not in message
        return message


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


class TestTrimaps:
    @pytest.mark.parametrize("edge", [128, 64, 21, 200])
    def test_are_refused_with_the_advice_to_give_a_threshold(self, read: Reader, edge: int) -> None:
        message = read.refusal(rim(255, edge))
        assert f"values 0, {edge} and 255" in message
        assert "--threshold" in message

    def test_stored_as_rgb_or_indices_of_greys_are_refused_too(self, read: Reader) -> None:
        trimap = Image.fromarray(rim(255, 128))
        for image in (trimap.convert("RGB"), trimap.convert("P"), trimap.convert("LA")):
            with pytest.raises(MaskError, match="--threshold"):
                read(image)

    def test_are_read_with_a_threshold(self, read: Reader) -> None:
        assert (read(rim(255, 128), threshold=0.9) == DISC).all()
        assert (read(rim(255, 128), threshold=0.5) == (rim(255, 128) > 0)).all()


class TestVoid:
    def test_beside_small_ids_becomes_background_with_the_number_of_pixels(
        self, read: Reader
    ) -> None:
        labels = read(rim(1, 255))
        assert (labels == DISC).all()
        (warning,) = read.warnings
        count = np.count_nonzero(rim(1, 255) == 255)
        assert f"255 counts as void (not annotated) beside other objects: {count} of" in warning

    def test_without_any_ground_is_refused(self, read: Reader) -> None:
        assert "values 2 and 255: expected 0 for the background" in read.refusal(disc(255, 2))

    def test_of_an_indexed_mask_in_colours_may_be_beside_any_id(self, read: Reader) -> None:
        image = Image.fromarray(rim(200, 255))
        image.putpalette(PALETTE)
        assert np.unique(read(image)).tolist() == [0, 200]
        assert len(read.warnings) == 1


class TestTheGround:
    def test_in_white_under_colours_is_refused(self, read: Reader) -> None:
        message = read.refusal(painted((200, 0, 0), (255, 255, 255)))
        white = np.count_nonzero(~DISC)
        assert f"{white} of {DISC.size} pixels are white and none is black" in message

    def test_that_is_white_under_a_black_object_is_doubted(self, read: Reader) -> None:
        labels = read(disc(0, 255))
        assert (labels == ~DISC).all()
        (warning,) = read.warnings
        assert f"object 1 covers {np.count_nonzero(~DISC)} of {DISC.size} pixels" in warning
        assert "invert the mask" in warning

    @pytest.mark.parametrize("ground", [1, 2, 9])
    def test_that_is_an_index_is_doubted(self, read: Reader, ground: int) -> None:
        read(disc(3, ground))
        assert f"no pixel is background, object {ground} covers" in read.warnings[0]
        read(disc(0, ground))
        assert f"object {ground} covers" in read.warnings[0]

    def test_in_green_is_doubted(self, read: Reader) -> None:
        read(painted((200, 0, 0), (0, 200, 0)))
        assert "no pixel is background, object 1 covers" in read.warnings[0]

    def test_in_black_raises_no_doubt(self, read: Reader) -> None:
        for stored in (disc(255), disc(1), rim(1, 2), painted((200, 0, 0), (0, 0, 0))):
            read(stored)
            assert read.warnings == []

    def test_under_an_object_at_one_side_of_the_picture_raises_no_doubt(self, read: Reader) -> None:
        near = np.zeros((48, 64), np.uint8)
        near[10:, 5:60] = 1
        read(near)
        assert read.warnings == []


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("suffix", ["png", "tif"])
    def test_of_exif_turns_a_mask_as_it_turns_a_frame(
        self, read: Reader, orientation: int, suffix: str
    ) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        shape = np.zeros((48, 64), np.uint8)
        shape[3:20, 5:30] = 2
        shape[3:9, 5:12] = 1
        labels = read(shape, suffix, exif=exif)
        stored = Image.fromarray(shape)
        stored.getexif()[0x0112] = orientation
        assert (labels == np.asarray(ImageOps.exif_transpose(stored))).all()

    def test_decides_about_the_size(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(disc(1)).save(tmp_path / "m.png", exif=exif)
        assert read_mask(tmp_path / "m.png", 48, 64).shape == (64, 48)
        with pytest.raises(MaskError, match="mask is 48x64, video is 64x48"):
            read_mask(tmp_path / "m.png", 64, 48)

    def test_of_an_indexed_mask_keeps_the_indices(self, read: Reader) -> None:
        image = Image.fromarray(rim(1, 7))
        image.putpalette(PALETTE)
        exif = Image.Exif()
        exif[0x0112] = 3
        assert (read(image, exif=exif) == rim(1, 7)[::-1, ::-1]).all()


class TestFloats:
    def test_that_are_soft_are_refused(self, read: Reader) -> None:
        message = read.refusal(soft().astype(np.float32), "tif")
        assert "values between whole numbers, 0 to 1, as in a soft mask" in message
        assert "--threshold" in message

    def test_that_are_whole_are_objects(self, read: Reader) -> None:
        assert (read(rim(1, 2).astype(np.float32), "tif") == rim(1, 2)).all()
        assert (read(disc(255).astype(np.float32), "tif") == DISC).all()

    @pytest.mark.parametrize("value", [np.nan, np.inf, -1, 300, 1e30])
    def test_that_are_no_ids_are_refused(self, read: Reader, value: float) -> None:
        stored = np.where(DISC, value, 1).astype(np.float32)
        assert "expected" in read.refusal(stored, "tif")


class TestCutOuts:
    def picture(self) -> Array:
        rng = np.random.default_rng(0)
        return rng.integers(0, 256, (48, 64, 3), np.uint8)

    def test_of_our_own_are_masks_by_their_alpha(self, tmp_path: Path) -> None:
        write_cutout(tmp_path / "cut.png", self.picture(), DISC.astype(np.float32))
        assert (read_mask(tmp_path / "cut.png") == DISC).all()

    def test_in_shades_of_one_colour_are_one_object_with_a_word(self, read: Reader) -> None:
        shades = (200 + self.picture() % 4) * np.array([1, 0, 0], np.uint8)
        rgba = np.dstack([shades, disc(255)])
        assert (read(rgba) == DISC).all()
        assert f"its alpha ({np.count_nonzero(DISC)} pixels) for the mask" in read.warnings[0]

    def test_with_a_palette_are_one_object(self, read: Reader) -> None:
        rgba = Image.fromarray(np.dstack([self.picture(), disc(255)]))
        assert (read(rgba.quantize(200, method=Image.Quantize.FASTOCTREE)) == DISC).all()

    def test_are_not_paint_on_a_transparent_ground(self, read: Reader) -> None:
        colours = np.array([(0, 0, 0), (250, 30, 0), (0, 80, 250)], np.uint8)[rim(1, 2)]
        rgba = np.dstack([colours, (rim(1, 2) > 0) * np.uint8(255)])
        assert (read(rgba) == rim(2, 1)).all()
        assert read.warnings == []

    def test_are_not_ids_with_alpha(self, read: Reader) -> None:
        grey = Image.merge("LA", [Image.fromarray(rim(1, 2)), Image.fromarray(disc(255, 255))])
        assert (read(grey) == rim(1, 2)).all()
        grey = Image.merge("LA", [Image.fromarray(rim(1, 2)), Image.fromarray(rim(255, 255))])
        assert (read(grey) == rim(1, 2)).all()

    def test_with_a_threshold_are_cut_at_that_alpha(self, read: Reader) -> None:
        rgba = np.dstack([self.picture(), (255 * soft()).astype(np.uint8)])
        assert (read(rgba, threshold=0.9) == (soft() * 255 // 1 >= 0.9 * 255)).all()


class TestThresholds:
    @pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
    def test_take_a_soft_mask_of_one_object(self, read: Reader, suffix: str) -> None:
        labels = read((255 * soft()).astype(np.uint8), suffix, threshold=0.5)
        assert np.mean(labels != DISC) < 0.02
        assert read.warnings == []

    def test_count_of_white_in_16_bits_and_in_floats(self, read: Reader) -> None:
        deep = read((65535 * soft()).astype(np.uint16), threshold=0.75)
        light = read(soft().astype(np.float32), "tif", threshold=0.75)
        assert (deep == light).mean() > 0.99
        assert (light == (soft().astype(np.float32) >= 0.75)).all()

    def test_go_by_the_brightest_channel(self, read: Reader) -> None:
        assert (read(painted((0, 0, 255), (0, 20, 0)), threshold=0.5) == DISC).all()

    @pytest.mark.parametrize("values", [255.0, -1.0, np.nan])
    def test_refuse_floats_of_another_range(self, read: Reader, values: float) -> None:
        with pytest.raises(MaskError, match="expected 0 to 1"):
            read(np.where(DISC, values, 0).astype(np.float32), "tif", threshold=0.5)

    def test_that_nothing_reaches_are_refused(self, read: Reader) -> None:
        with pytest.raises(MaskError, match=r"nothing reaches --threshold 0\.8"):
            read(disc(100), threshold=0.8)

    def test_doubt_the_ground_too(self, read: Reader) -> None:
        read(disc(0, 255), threshold=0.5)
        assert "invert the mask" in read.warnings[0]


class TestPictures:
    @pytest.mark.parametrize("suffix", ["png", "gif"])
    def test_of_few_colours_are_refused(self, read: Reader, suffix: str) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
        with pytest.raises(MaskError, match=r"200 colours that change at \d+% of the pixels"):
            read(Image.fromarray(noise).quantize(200), suffix)

    def test_are_not_masks_of_many_objects(self, read: Reader) -> None:
        tiles = np.arange(200, dtype=np.uint8).reshape(10, 20).repeat(8, 0).repeat(8, 1)
        image = Image.fromarray(tiles)
        image.putpalette(PALETTE[::-1])
        assert len(np.unique(read(image))) == 200


class TestOtherKinds:
    @pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "gif", "PNG", "TIFF"])
    def test_of_files_hold_the_same_objects(self, read: Reader, suffix: str) -> None:
        options = {"lossless": True} if suffix == "webp" else {}
        assert (read(rim(1, 2), suffix, **options) == rim(1, 2)).all()

    @pytest.mark.parametrize("kind", [np.uint16, np.int32])
    def test_of_numbers_hold_ids_up_to_254(self, read: Reader, kind: type) -> None:
        assert (read(rim(1, 254).astype(kind), "tif") == rim(1, 254)).all()
        with pytest.raises(MaskError, match="values 0 to 300, expected objects 1 to 254"):
            read(np.where(DISC, 300, 0).astype(kind), "tif")

    def indexed_png(self, path: Path, colours: int) -> None:
        """Write the indices 0 to 2 as PNG with a palette of only some colours; 0: without one."""
        image = Image.fromarray(rim(1, 2))
        image.putpalette(PALETTE)
        image.save(path)
        data = path.read_bytes()
        start = data.index(b"PLTE") - 4
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        palette = b"PLTE" + PALETTE[: 3 * colours]
        checked = len(palette[4:]).to_bytes(4, "big") + palette
        checked += zlib.crc32(palette).to_bytes(4, "big")
        path.write_bytes(data[:start] + (checked if colours else b"") + data[end:])

    def test_an_indexed_png_without_palette_is_refused(self, tmp_path: Path) -> None:
        self.indexed_png(tmp_path / "m.png", 0)
        with pytest.raises(MaskError, match=r"m\.png: indices without a palette of colours"):
            read_mask(tmp_path / "m.png")

    def test_an_index_beyond_a_short_palette_is_an_object(self, tmp_path: Path) -> None:
        self.indexed_png(tmp_path / "m.png", 2)
        assert (read_mask(tmp_path / "m.png") == rim(1, 2)).all()

    def test_of_several_pictures_give_the_first_with_a_word(self, read: Reader) -> None:
        second = Image.fromarray(disc(0))
        labels = read(disc(1), "tif", save_all=True, append_images=[second])
        assert (labels == DISC).all()
        assert "holds 2 pictures, the first is taken" in read.warnings[0]

    def test_of_a_transparent_index_are_background(self, read: Reader) -> None:
        image = Image.fromarray(rim(1, 2))
        image.putpalette(PALETTE)
        assert (read(image, transparency=0) == rim(1, 2)).all()

    def test_16_bits_with_a_transparent_value_are_read(self, read: Reader) -> None:
        assert (read(rim(1, 2).astype(np.uint16), transparency=0) == rim(1, 2)).all()

    def test_a_jpeg_within_a_tiff_is_refused_as_a_jpeg_is(self, read: Reader) -> None:
        stored = np.where(DISC, 90, 0).astype(np.uint8)
        with pytest.raises(MaskError, match="which blurs edges; threshold it"):
            read(stored, "tif", compression="jpeg")
