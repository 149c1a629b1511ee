import io
import os
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from vostool.errors import InputError
from vostool.media import image as image_module
from vostool.media.image import FORMATS, MAX_PIXELS, read_image, stored_mode
from vostool.media.video import probe, read_frames

HALF_TURN, QUARTER_TURN = 3, 6  # EXIF orientations


def gradient(height: int = 8, width: int = 12) -> NDArray[np.uint8]:
    """Return a picture no two pixels of which are alike."""
    return np.arange(height * width * 3, dtype=np.uint16).reshape(height, width, 3).astype(np.uint8)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def write_film(
    path: Path, codec: str, pixel_format: str, values: NDArray[np.uint16] | NDArray[np.float32]
) -> None:
    """Write one picture with FFmpeg, as studios exchange them."""
    with av.open(str(path), "w", format="image2") as output:
        stream = output.add_stream(codec, rate=25, width=values.shape[1], height=values.shape[0])
        assert isinstance(stream, VideoStream)
        stream.pix_fmt = pixel_format
        frame = av.VideoFrame.from_ndarray(values, format=pixel_format)
        frame.time_base, frame.pts = Fraction(1, 25), 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def linear_light() -> NDArray[np.float32]:
    values = np.zeros((8, 16, 3), np.float32)
    values[:, :8] = (0.18, 0.5, 1.0)
    values[:, 8:] = (7.0, 0.001, -1.0)
    return values


SRGB = ((118, 188, 255), (255, 3, 0))  # of the two halves


class TestOrientation:
    @pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
    def test_of_exif_turns_a_picture_as_viewers_do(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"turned.{suffix}"
        options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
        Image.fromarray(gradient()).save(path, exif=exif(HALF_TURN), **options)
        assert (read_image(path) == gradient()[::-1, ::-1]).all()
        Image.fromarray(gradient()).save(path, exif=exif(QUARTER_TURN), **options)
        assert (read_image(path) == gradient()[::-1].transpose(1, 0, 2)).all()

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("mode", ["L", "RGBA"])
    def test_turns_a_tiff_that_pillow_would_map_into_memory(
        self, tmp_path: Path, mode: str, orientation: int
    ) -> None:
        stored = Image.fromarray(gradient()).convert(mode)
        stored.save(tmp_path / "turned.tif", exif=exif(orientation))
        stored.save(tmp_path / "turned.png", exif=exif(orientation))
        assert (read_image(tmp_path / "turned.tif") == read_image(tmp_path / "turned.png")).all()


class TestDepth:
    @pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
    def test_of_16_bits_becomes_8_in_a_folder_of_frames_too(
        self, tmp_path: Path, suffix: str
    ) -> None:
        path = tmp_path / f"deep.{suffix}"
        Image.fromarray(np.full((8, 12), 30000, np.uint16)).save(path)
        assert (read_image(path) == 117).all()
        assert (next(read_frames(tmp_path)).rgb == 117).all()

    def test_of_16_bits_in_the_other_byte_order_is_read_alike(self, tmp_path: Path) -> None:
        values = np.full((8, 12), 30000, ">u2")
        Image.frombytes("I;16B", (12, 8), values.tobytes()).save(tmp_path / "big.tif")
        assert (read_image(tmp_path / "big.tif") == 117).all()

    def test_beyond_16_bits_is_refused(self, tmp_path: Path) -> None:
        Image.fromarray(np.full((8, 12), 70000, np.int32)).save(tmp_path / "deep.tif")
        with pytest.raises(InputError, match=r"deep\.tif: values 70000 to 70000, expected 16 bits"):
            read_image(tmp_path / "deep.tif")


class TestLinearLight:
    def test_of_a_grey_tiff_is_encoded_as_srgb(self, tmp_path: Path) -> None:
        Image.fromarray(linear_light()[..., 0]).save(tmp_path / "light.tif")
        rgb = read_image(tmp_path / "light.tif")
        assert [rgb[0, 0].tolist(), rgb[0, -1].tolist()] == [[118] * 3, [255] * 3]

    def test_of_openexr_is_encoded_as_srgb(self, tmp_path: Path) -> None:
        write_film(tmp_path / "0.exr", "exr", "gbrpf32le", linear_light())
        rgb = next(read_frames(tmp_path)).rgb
        assert (tuple(rgb[0, 0]), tuple(rgb[0, -1])) == SRGB
        info = probe(tmp_path)
        assert (info.width, info.height, info.codec, info.pixel_format) == (16, 8, "exr", "EXR")

    def test_of_a_tiff_in_colours_is_read_by_tifffile(self, tmp_path: Path) -> None:
        tifffile = pytest.importorskip("tifffile")
        tifffile.imwrite(tmp_path / "0.tif", linear_light(), photometric="rgb")
        rgb = read_image(tmp_path / "0.tif")
        assert (tuple(rgb[0, 0]), tuple(rgb[0, -1])) == SRGB
        assert stored_mode(tmp_path / "0.tif") == "TIFF"

    def test_of_a_tiff_whose_pages_go_round_in_a_circle_is_that_of_the_first(
        self, tmp_path: Path
    ) -> None:
        tifffile = pytest.importorskip("tifffile")
        path = tmp_path / "0.tif"
        tifffile.imwrite(path, linear_light(), photometric="rgb")
        with tifffile.TiffFile(path) as file:
            first, tags = file.pages.first.offset, file.pages.first.tags
            next_page = first + 2 + 12 * len(tags)
        data = bytearray(path.read_bytes())
        data[next_page : next_page + 4] = first.to_bytes(4, "little")
        path.write_bytes(data)
        assert tuple(read_image(path)[0, 0]) == SRGB[0]

    def test_that_is_no_number_is_black(self, tmp_path: Path) -> None:
        Image.fromarray(np.full((8, 12), np.nan, np.float32)).save(tmp_path / "nan.tif")
        assert (read_image(tmp_path / "nan.tif") == 0).all()

    def test_of_0_to_255_is_refused_as_none(self, tmp_path: Path) -> None:
        Image.fromarray(np.full((8, 12), 99, np.float32)).save(tmp_path / "bytes.tif")
        with pytest.raises(InputError, match="expected linear light, 1 for white; found a median"):
            read_image(tmp_path / "bytes.tif")


def test_dpx_is_read_as_stored(tmp_path: Path) -> None:
    values = np.zeros((8, 16, 3), np.uint16)
    values[:, :8] = (30000, 0, 65535)
    write_film(tmp_path / "0.dpx", "dpx", "rgb48le", values)
    assert read_image(tmp_path / "0.dpx")[0, 0].tolist() == [117, 0, 255]


class TestRefusals:
    def refusal(self, path: Path) -> str:
        with pytest.raises(InputError) as caught:
            read_image(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
        return message.removeprefix(f"{path}: ")

    def test_name_the_package_that_reads_an_uncommon_tiff(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        head = b"II*\0\x08\0\0\0\0\0\0\0\0\0"
        (tmp_path / "a.tif").write_bytes(head)

        def no_plugin(*arguments: object, **options: object) -> None:
            raise ImportError("The `tifffile` plugin is not installed.")

        monkeypatch.setattr("imageio.v3.imopen", no_plugin)
        assert "install tifffile (pip install tifffile)" in self.refusal(tmp_path / "a.tif")

    @pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.eps", "a.tif"])
    def test_of_postscript_whatever_its_name_run_no_ghostscript(
        self, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def run(*arguments: object, **options: object) -> None:
            raise AssertionError("Ghostscript is run")

        monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", run)
        Image.fromarray(gradient()).save(tmp_path / "a", "EPS")
        (tmp_path / "a").rename(tmp_path / name)
        assert self.refusal(tmp_path / name) == (
            f"cannot be read as an image: expected {', '.join(FORMATS)}"
        )

    @pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tif", "gif", "ppm"])
    def test_of_every_cut_off_file_are_one_line(self, tmp_path: Path, suffix: str) -> None:
        rng = np.random.default_rng(0)
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(path)
        whole = path.read_bytes()
        for share in (0, 0.01, 0.1, 0.5, 0.8):
            path.write_bytes(whole[: int(share * len(whole))])
            assert self.refusal(path).startswith("cannot be read as an image: ")

    @pytest.mark.parametrize("suffix", ["exr", "dpx"])
    def test_of_damaged_film_frames_are_one_line(self, tmp_path: Path, suffix: str) -> None:
        head = {"exr": b"v/1\x01", "dpx": b"SDPX"}[suffix]
        (tmp_path / f"a.{suffix}").write_bytes(head + bytes(200))
        assert self.refusal(tmp_path / f"a.{suffix}").startswith("cannot be read as an image: ")

    def test_of_folders_and_missing_files(self, tmp_path: Path) -> None:
        assert self.refusal(tmp_path) == "cannot be read as an image: it is no file"
        assert self.refusal(tmp_path / "a.png").endswith("No such file or directory")

    def test_of_a_pipe_do_not_wait_for_its_writer(self, tmp_path: Path) -> None:

        os.mkfifo(tmp_path / "a.png")
        assert self.refusal(tmp_path / "a.png") == "cannot be read as an image: it is no file"

    def test_of_more_pixels_than_memory_bears(self, tmp_path: Path) -> None:
        buffer = io.BytesIO()
        Image.new("1", (16, 16)).save(buffer, "PNG")
        data = bytearray(buffer.getvalue())
        side = int(MAX_PIXELS**0.5) + 1
        data[16:24] = side.to_bytes(4, "big") * 2

        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
        (tmp_path / "a.png").write_bytes(data)
        assert f"exceeds limit of {MAX_PIXELS} pixels" in self.refusal(tmp_path / "a.png")


def test_only_pictures_of_the_listed_formats_are_opened_anywhere() -> None:
    package = Path(image_module.__file__).parents[1]
    openers = [
        path.name
        for path in package.rglob("*.py")
        if "Image.open(" in path.read_text(encoding="utf-8")
    ]
    assert openers == ["image.py"]
