"""An image file to the pixels that a viewer shows: the one reader of frames and photographs.

Pillow reads the usual kinds. OpenEXR and DPX, as studios exchange frames, are read by imageio
with FFmpeg; so are TIFF files that Pillow cannot read (32-bit float colours, for one) with
tifffile, where that is installed. The kind is recognised by content, never by the file's name.

Shapes: rgb (H, W, 3), uint8.
"""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from vostool.errors import InputError, VostoolError
from vostool.files import first_line
from vostool.media.frame import Rgb

Grey = NDArray[np.uint8]

# Pillow knows many more, and among them one that runs Ghostscript on the file
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
EXR = b"v/1\x01"
DPX = (b"SDPX", b"XPDS")
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
FIRST_FRAME = {"index": 0}
FIRST_PAGE = {"index": ..., "page": 0}  # of the file: what follows may be without end
MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 2**26  # about 89 million, Pillow's own bound
FAR_TOO_BRIGHT = 4.0  # a median two stops above white: these values are no linear light

# Pillow warns from MAX_PIXELS on and refuses only twice as many
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


@contextmanager
def open_image(
    path: Path,
    error: type[VostoolError] = InputError,
    formats: tuple[str, ...] = FORMATS,
    kind: str = "an image",
) -> Iterator[Image.Image]:
    """Give an image file, whose pixels are decoded when they are asked for.

    Raises `error` if it is no file of one of Pillow's `formats`, damaged, or of more than
    MAX_PIXELS; `kind` is what to call it.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would keep its reader waiting
            raise error(f"{path}: cannot be read as {kind}: it is no file")
        # not by its name: Pillow would map it, and reads turned TIFF files from there in disorder
        with path.open("rb") as file, Image.open(file, formats=formats) as image:
            yield image
    except VostoolError:
        raise
    except UnidentifiedImageError as problem:
        expected = f"expected {', '.join(formats)}"
        raise error(f"{path}: cannot be read as {kind}: {expected}") from problem
    except Exception as problem:  # damaged files make decoders raise nearly anything
        reason = getattr(problem, "strerror", None) or first_line(problem)
        raise error(f"{path}: cannot be read as {kind}: {reason}") from problem


def is_whole_png(path: Path) -> bool:
    """Return whether a file is there to its very end, and a PNG undamaged by its checksums."""
    try:
        with open_image(path, formats=("PNG",)) as image:
            image.verify()
    except InputError:
        return False
    return True


def decode_grey(content: bytes, where: str, error: type[VostoolError] = InputError) -> Grey:
    """Return the grey values (H, W), uint8, of a PNG in memory; raises `error`, naming `where`."""
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            return np.asarray(image.convert("L"))
    except Exception as problem:  # damaged files make decoders raise nearly anything
        raise error(f"{where}: cannot be read as a PNG: {first_line(problem)}") from problem


def decode_jpeg(content: bytes, width: int, height: int) -> Rgb:
    """Return the pixels of a JPEG that was made here, enlarged to a size."""
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        if image.size != (width, height):
            return np.array(image.resize((width, height), Image.Resampling.BICUBIC))
        return np.array(image)


def turn_upright(image: Image.Image) -> None:
    """Decode an image and turn it in place as its EXIF orientation says, as viewers do."""
    image.load()
    ImageOps.exif_transpose(image, in_place=True)


def without_alpha(image: Image.Image) -> Image.Image:
    """Return the colours of an image, also of transparent pixels, as RGB."""
    if isinstance(image.info.get("transparency"), bytes):  # Pillow warns of dropping these
        image = image.convert("RGBA")
    return image.convert("RGB")


def count_pictures(image: Image.Image) -> int:
    """Return how many pictures an image file holds, as an animated GIF or a TIFF may.

    The preview in a photograph does not count.
    """
    return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)


def read_image(path: Path) -> Rgb:
    """Return the pixels of an image file as a viewer shows them, (H, W, 3).

    EXIF orientation is applied, transparency is ignored. Of 16 bits a channel the upper 8
    count. Floating-point values are linear light from 0, black, to 1, white, as in OpenEXR;
    they are clipped to that and encoded as sRGB.
    Raises InputError if the file cannot be read, or holds values of neither kind.
    """
    kind = _first_bytes(path)
    if kind == EXR:
        planes = _read_film(path, "pyav", FIRST_FRAME, container="exr_pipe", format="gbrpf32le")
        return to_rgb(path, planes[[2, 0, 1]].transpose(1, 2, 0))
    if kind in DPX:
        rgb = _read_film(path, "pyav", FIRST_FRAME, container="dpx_pipe", format="rgb24")
        return to_rgb(path, rgb)
    try:
        with open_image(path) as image:
            turn_upright(image)
            if image.mode == "F" or image.mode.startswith("I"):  # convert() would clip these
                return to_rgb(path, np.asarray(image))
            return np.array(without_alpha(image))
    except InputError as error:
        if not _is_unknown_tiff(kind, error):
            raise
    return to_rgb(path, _read_film(path, "tifffile", FIRST_PAGE))


def stored_mode(path: Path) -> str:
    """Return how the pixels are stored: Pillow's mode, or the kind of a file of a studio.

    Raises InputError.
    """
    kind = _first_bytes(path)
    if kind == EXR or kind in DPX:
        return "EXR" if kind == EXR else "DPX"
    try:
        with open_image(path) as image:
            return image.mode
    except InputError as error:
        if not _is_unknown_tiff(kind, error):
            raise
    return "TIFF"


def to_rgb(path: Path, values: NDArray[Any]) -> Rgb:
    """Return grey (H, W) or channels (H, W, 1 to 4) of any depth as 8-bit RGB, by `read_image`.

    Raises InputError, naming the file, for values that cannot be shown.
    """
    if values.ndim == 2:
        values = values[..., np.newaxis]
    if values.ndim != 3 or not 1 <= values.shape[2] <= 4 or values.size == 0:
        raise InputError(f"{path}: expected one picture of 1 to 4 channels, found {values.shape}")
    colours = values[..., :3] if values.shape[2] > 2 else values[..., :1]
    if values.dtype.kind == "f":
        shown = _encode_srgb(path, colours)
    elif values.dtype.itemsize == 1:
        shown = colours.astype(np.uint8)
    else:
        if colours.min() < 0 or colours.max() > np.iinfo(np.uint16).max:
            raise InputError(f"{path}: values {colours.min()} to {colours.max()}, expected 16 bits")
        shown = (colours >> 8).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(shown, (*shown.shape[:2], 3)))


def _encode_srgb(path: Path, linear: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Return linear light as sRGB (IEC 61966-2-1), each from black to white."""
    light = np.nan_to_num(linear.astype(np.float32), nan=0.0)
    median = np.median(light)
    if median > FAR_TOO_BRIGHT:
        raise InputError(
            f"{path}: expected linear light, 1 for white; found a median of {median:.4g}"
        )
    light = light.clip(0, 1)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (255 * encoded + 0.5).astype(np.uint8)


def _first_bytes(path: Path) -> bytes:
    """Return the four bytes that identify the kind of a file; none if it cannot be read."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(4)
    except OSError:
        return b""


def _is_unknown_tiff(kind: bytes, error: InputError) -> bool:
    return isinstance(error.__cause__, UnidentifiedImageError) and kind in TIFF


def _read_film(
    path: Path, plugin: Any, which: dict[str, Any], container: str | None = None, **reading: str
) -> NDArray[Any]:
    """Return the first picture that a plugin of imageio reads; raises InputError."""
    import imageio.v3 as iio  # slow to import, and seldom needed

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it says is in its exceptions

    opening: dict[str, Any] = {} if container is None else {"format": container}
    try:
        # bytes, so that nothing depends on the file's name, nor opens another file
        with iio.imopen(path.read_bytes(), "r", plugin=plugin, **opening) as file:
            shape = file.properties(**which).shape
            if np.prod(shape, dtype=float) > 4 * MAX_PIXELS:
                raise InputError(f"{path}: expected at most {MAX_PIXELS} pixels, found {shape}")
            return np.asarray(file.read(**which, **reading))
    except VostoolError:
        raise
    except ImportError as problem:
        raise InputError(
            f"{path}: Pillow cannot read this kind of file: install {plugin} "
            f"(pip install {plugin}), or convert the file to PNG"
        ) from problem
    except Exception as problem:  # damaged files make decoders raise nearly anything
        reason = getattr(problem, "strerror", None) or first_line(problem)
        raise InputError(f"{path}: cannot be read as an image: {reason}") from problem
