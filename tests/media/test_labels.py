import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from vostool.errors import MaskError
from vostool.media.labels import PALETTE, to_labels

COLOURS = np.frombuffer(PALETTE, np.uint8).reshape(-1, 3)
Array = NDArray[np.uint8]


def map_of(*values: int) -> Array:
    """Return a map of squares with these values on a ground of 0."""
    labels = np.zeros((24, 20 * len(values) + 4), np.uint8)
    for place, value in enumerate(values):
        labels[4:20, 20 * place + 4 : 20 * place + 20] = value
    return labels


def read(stored: Array) -> list[int]:
    """Return the objects seen in an image of these values or colours."""
    return seen(Image.fromarray(stored))


def seen(image: Image.Image) -> list[int]:
    return np.unique(to_labels(image)).tolist()


def indexed(labels: Array, palette: bytes = PALETTE) -> Image.Image:
    image = Image.fromarray(labels)
    image.putpalette(palette)
    return image


class TestOneObject:
    @pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P", "LA"])
    def test_is_what_is_white_on_black(self, mode: str) -> None:
        image = Image.fromarray(map_of(255)).convert(mode)
        assert (to_labels(image) == (map_of(255) > 0)).all()

    def test_may_fill_the_picture(self) -> None:
        assert read(np.full((4, 4), 255, np.uint8)) == [1]

    def test_may_be_white_in_16_bits(self) -> None:
        assert seen(Image.fromarray(map_of(255).astype(np.uint16) * 257)) == [0, 1]

    def test_may_be_black_on_a_transparent_ground(self) -> None:
        shape = map_of(255)
        assert seen(Image.merge("LA", [Image.new("L", shape.shape[::-1]), Image.fromarray(shape)]))
        black = np.zeros((*shape.shape, 4), np.uint8)
        black[..., 3] = shape
        assert (to_labels(Image.fromarray(black)) == (shape > 0)).all()

    def test_may_be_in_a_clean_jpeg(self) -> None:
        buffer = io.BytesIO()
        flat = np.zeros((32, 32), np.uint8)
        flat[8:24, 8:24] = 255  # whole blocks of the code
        Image.fromarray(flat).save(buffer, "JPEG", quality=100)
        assert seen(Image.open(buffer)) == [0, 1]


class TestSeveralObjects:
    def test_are_the_indices_of_an_indexed_image(self) -> None:
        assert seen(indexed(map_of(1, 2, 7))) == [0, 1, 2, 7]

    def test_are_the_values_of_a_grey_image(self) -> None:
        assert read(map_of(1, 2, 7)) == [0, 1, 2, 7]
        assert read(map_of(38, 75)) == [0, 38, 75]
        assert seen(Image.fromarray(map_of(1, 2, 7)).convert("RGB")) == [0, 1, 2, 7]
        assert seen(Image.fromarray(map_of(1, 2, 7).astype(np.uint16))) == [0, 1, 2, 7]

    def test_are_the_indices_of_davis_colours(self) -> None:
        assert read(COLOURS[map_of(1, 3, 12)]) == [0, 1, 3, 12]

    def test_are_other_colours_by_red_then_green_then_blue(self) -> None:
        colours = np.array([(0, 0, 0), (9, 200, 0), (9, 10, 250), (250, 0, 0)], np.uint8)
        labels = to_labels(Image.fromarray(colours[map_of(1, 2, 3)]))
        assert [labels[10, 10], labels[10, 30], labels[10, 50]] == [2, 1, 3]
        assert labels[0, 0] == 0

    def test_may_be_all_there_is(self) -> None:
        colours = np.array([(250, 0, 0), (0, 0, 250)], np.uint8)
        assert read(colours[map_of(1)]) == [1, 2]

    def test_are_not_where_alpha_is_below_one_half(self) -> None:
        stored = np.dstack([COLOURS[map_of(1, 2)], np.where(map_of(1, 2) == 2, 90, 255)])
        assert read(stored.astype(np.uint8)) == [0, 1]

    @pytest.mark.parametrize("share", [0.0, 0.05, 0.5])
    def test_that_are_partly_transparent_are_told_of(self, share: float) -> None:
        shape = map_of(255)
        rows, columns = np.nonzero(shape)
        soft = round(share * len(rows))
        shape[rows[:soft], columns[:soft]] = 128
        grounds = [Image.new("L", shape.shape[::-1]), Image.fromarray(shape)]
        warnings: list[str] = []
        assert (to_labels(Image.merge("LA", grounds), warnings=warnings) == (shape > 0)).all()
        told = [line for line in warnings if f"{soft} pixels are partly transparent" in line]
        assert len(told) == (share > 0.1)

    def test_are_colours_if_the_palette_has_black_elsewhere(self) -> None:
        white_first = bytes([255, 255, 255, 0, 0, 0])
        image = indexed(np.where(map_of(1) > 0, 0, 1).astype(np.uint8), white_first)
        assert (to_labels(image) == (map_of(1) > 0)).all()

    def test_are_colours_if_the_first_of_the_palette_is_one_on_a_transparent_ground(self) -> None:
        image = indexed(
            np.array([2, 0, 1], np.uint8)[map_of(1, 2)], bytes([250, 0, 0, 0, 0, 250, 9, 9, 9])
        )
        image.info["transparency"] = 2
        assert (to_labels(image) == np.array([0, 2, 1])[map_of(1, 2)]).all()

    def test_are_indices_if_the_first_of_the_palette_is_the_transparent_ground(self) -> None:
        image = indexed(map_of(1, 2), bytes([255, 255, 255, 0, 0, 250, 250, 0, 0]))
        image.info["transparency"] = bytes([0, 255, 255])  # Pillow warns when it drops these
        assert (to_labels(image) == map_of(1, 2)).all()
        assert (to_labels(image.convert("RGBA")) == map_of(1, 2)).all()

    def test_have_255_beside_them_as_void(self) -> None:
        assert read(map_of(1, 2, 255)) == [0, 1, 2]
        assert seen(indexed(map_of(1, 255))) == [0, 1]

    def test_may_be_tiny_or_many(self) -> None:
        tiny = map_of(1, 2)
        tiny[2, 2:7] = 3  # five pixels
        assert read(tiny) == [0, 1, 2, 3]
        tiny[3:5, 3:5] = 0
        tiny[3, 4:7] = 1  # between the ground and object 3
        assert read(tiny) == [0, 1, 2, 3]
        assert read(map_of(*range(1, 31))) == list(range(31))
        assert len(read(map_of(*range(1, 255)))) == 255

    def test_may_touch_and_lie_within_each_other(self) -> None:
        labels = np.zeros((60, 60), np.uint8)
        for number in range(1, 10):
            labels[3 * number : 60 - 3 * number, 3 * number : 60 - 3 * number] = number
        assert read(labels) == list(range(10))

    def test_have_numbers_up_to_254(self) -> None:
        with pytest.raises(MaskError, match="values 0 to 300, expected objects 1 to 254"):
            to_labels(Image.fromarray(map_of(1).astype(np.uint16) * 300))


def blob(scale: int = 1) -> Image.Image:
    image = Image.new("L", (160 * scale, 120 * scale))
    draw = ImageDraw.Draw(image)
    draw.ellipse([20 * scale, 10 * scale, 80 * scale, 100 * scale], fill=255)
    draw.polygon([(scale * x, scale * y) for x, y in ((90, 20), (150, 60), (100, 110))], fill=255)
    return image


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def resized(image: Image.Image, factor: float, method: Image.Resampling) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), method)


class TestSmoothedMasks:
    @pytest.mark.parametrize("factor", [0.4, 0.5, 0.9, 1.5, 2, 4])
    @pytest.mark.parametrize("method", ["BILINEAR", "BICUBIC", "LANCZOS"])
    def test_by_resizing_are_refused(self, factor: float, method: str) -> None:
        smooth = resized(blob(), factor, Image.Resampling[method])
        with pytest.raises(MaskError, match=r"\d+ values, .*expected one value for each object"):
            to_labels(smooth)
        assert seen(resized(blob(), factor, Image.Resampling.NEAREST)) == [0, 1]

    @pytest.mark.parametrize("factor", [0.5, 2])
    def test_of_low_numbers_are_refused(self, factor: float) -> None:
        for number in (2, 3, 8):
            labels = blob().point([0] * 255 + [number])
            with pytest.raises(MaskError, match="as in a resized or anti-aliased mask"):
                to_labels(resized(labels, factor, Image.Resampling.BILINEAR))

    def test_by_antialiased_drawing_are_refused(self) -> None:
        with pytest.raises(MaskError, match="threshold it, or save it as an indexed PNG"):
            to_labels(resized(blob(4), 0.25, Image.Resampling.BOX))

    @pytest.mark.parametrize("radius", [1, 3, 10])
    def test_by_blurring_are_refused(self, radius: int) -> None:
        with pytest.raises(MaskError, match="only on the edges"):
            to_labels(blob().filter(ImageFilter.GaussianBlur(radius)))

    def test_enlarged_by_repetition_are_refused(self) -> None:
        smooth = np.asarray(resized(blob(), 2, Image.Resampling.BILINEAR))
        with pytest.raises(MaskError, match="only on the edges"):
            read(smooth.repeat(2, 0).repeat(2, 1))

    def test_are_believed_on_request_and_if_indexed_in_colours(self) -> None:
        labels = np.asarray(resized(blob().point([0] * 255 + [8]), 2, Image.Resampling.BILINEAR))
        assert (to_labels(Image.fromarray(labels), strict=False) == labels).all()
        assert (to_labels(indexed(labels)) == labels).all()
        with pytest.raises(MaskError, match="only on the edges"):
            to_labels(Image.fromarray(labels).convert("P"))

    def test_in_colours_are_refused(self) -> None:
        colours = np.array([(0, 0, 0), (250, 30, 0), (0, 80, 250)], np.uint8)
        crisp = Image.fromarray(colours[map_of(1, 2)])
        assert seen(crisp) == [0, 1, 2]
        turned = crisp.rotate(10, Image.Resampling.BILINEAR)
        with pytest.raises(MaskError, match="values, most of them only on the edges"):
            to_labels(turned)

    @pytest.mark.parametrize("quality", [50, 75, 95, 100])
    def test_by_jpeg_are_refused_even_if_stored_anew(self, quality: int) -> None:
        with pytest.raises(MaskError, match=r"\d+ values in a JPEG, which blurs edges; threshold"):
            to_labels(jpeg(blob(), quality))
        with pytest.raises(MaskError, match="threshold it"):
            read(np.asarray(jpeg(blob(), quality)))

    def test_pictures_are_refused(self) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
        with pytest.raises(MaskError, match=r"1\d\d\d colours, expected at most 254 and black"):
            read(noise)
        with pytest.raises(MaskError, match="values"):
            read(noise[..., 0])
