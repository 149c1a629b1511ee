"""Soft masks, as pictures or films: `matte`; and films of the objects with alpha: `alpha`."""

import io
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from PIL import Image

from vostool.files import write_bytes
from vostool.inference.soft import SegmentedFrame, SoftMask
from vostool.media.film_formats import (
    FFV1_ALPHA,
    FFV1_GREY,
    FFV1_GREY_16,
    PRORES_4444,
    VP9,
    FilmFormat,
)
from vostool.media.matting import in_bits, with_alpha
from vostool.media.overlay import write_cutout
from vostool.media.writer import Pixels
from vostool.segment.writers.film import Film
from vostool.segment.writers.interface import Source, Writer
from vostool.segment.writers.labels import encode_png
from vostool.segment.writers.pictures import Pictures
from vostool.segment.writers.several import Several


def soft_mask(segmented: SegmentedFrame, id_: int | None = None) -> SoftMask:
    """Return the soft mask (H, W) of an object, or of all."""
    if segmented.soft is None:
        raise ValueError("a frame without its soft masks")
    return segmented.soft.of_all() if id_ is None else segmented.soft.of(id_)


class Cutouts(Pictures):
    """The objects on a transparent background."""

    help = "the objects on a transparent background, PNG with straight alpha"
    file = "cutouts"
    needs_soft = True

    def write(self, path: Path, segmented: SegmentedFrame) -> None:
        """Write a cut-out."""
        write_cutout(path, segmented.frame.rgb, soft_mask(segmented))


ALPHA = {"prores": PRORES_4444, "vp9": VP9, "ffv1": FFV1_ALPHA}


class AlphaFilm(Film):
    """A film of the objects on a transparent background."""

    help = "the objects on a transparent background, a film with sound"
    file = "cutout"
    needs_soft = True
    variants: ClassVar[Mapping[str, str]] = {
        "prores": "the objects with straight alpha, ProRes 4444, for editors",
        "vp9": "the objects with straight alpha, VP9 in WebM, for browsers",
        "ffv1": "the objects with straight alpha, FFV1 in Matroska, lossless",
    }

    @classmethod
    def file_of(cls, variant: str) -> str:
        """Return the name that says which it is."""
        suffixes = {"prores": ".mov", "vp9": ".webm", "ffv1": ".mkv"}
        return f"{cls.file}{suffixes[variant]}"

    @property
    def format(self) -> FilmFormat:
        """The format of the variant."""
        return ALPHA[self.variant]

    def picture(self, segmented: SegmentedFrame) -> Pixels:
        """Return a cut-out."""
        bits = 16 if self.format.is_16_bit else 8
        return with_alpha(segmented.frame.rgb, soft_mask(segmented), bits)


class MattePictures(Pictures):
    """The soft masks of an object, or of all, as grey PNG."""

    file = "matte"
    needs_soft = True

    def __init__(self, path: Path, source: Source, id_: int | None, bits: int) -> None:
        """Prepare to write into a folder of pictures."""
        super().__init__(path.parent, source)
        self.path, self.id, self.bits = path, id_, bits

    def write(self, path: Path, segmented: SegmentedFrame) -> None:
        """Write a matte."""
        buffer = io.BytesIO()
        matte = Image.fromarray(in_bits(soft_mask(segmented, self.id), self.bits))
        matte.save(buffer, "PNG", compress_level=1)
        write_bytes(path, buffer.getvalue(), sync=False)


class Trimap(Pictures):
    """trimap/00000.png: white where objects are for sure, black where none is, else grey."""

    help = "what is object (white), background (black) or neither for sure (grey), PNG for matting"
    file = "trimap"
    needs_soft = True
    sure: ClassVar[float] = 0.95  # probability
    band: ClassVar[int] = 120  # the shorter side of a frame is so many times what is added around

    def write(self, path: Path, segmented: SegmentedFrame) -> None:
        """Write a trimap: the soft edge and a band on both sides of it are unknown."""
        soft = soft_mask(segmented)
        radius = max(1, round(min(soft.shape) / self.band))
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
        trimap = np.full(soft.shape, 128, np.uint8)
        for value, sure in ((0, soft <= 1 - self.sure), (255, soft >= self.sure)):
            trimap[cv2.erode(sure.astype(np.uint8), disc) > 0] = value
        write_bytes(path, encode_png(trimap), sync=False)


class MatteFilm(Film):
    """The soft masks of an object, or of all, as a grey film without sound."""

    file = "matte.mkv"
    needs_soft = True
    has_sound = False

    def __init__(self, path: Path, source: Source, id_: int | None, bits: int) -> None:
        """Prepare to write a film."""
        super().__init__(path.parent, source)
        self.path, self.id, self.bits = path, id_, bits

    @property
    def format(self) -> FilmFormat:
        """FFV1, which is lossless."""
        return FFV1_GREY_16 if self.bits == 16 else FFV1_GREY

    def picture(self, segmented: SegmentedFrame) -> Pixels:
        """Return a matte."""
        return in_bits(soft_mask(segmented, self.id), self.bits)


def _matte_variants() -> dict[str, str]:
    """Return the combinations of video, each and 16, in this order."""
    found: dict[str, str] = {}
    for film, each, bits in product(("", "video"), ("", "each"), ("", "16")):
        words = "one of each object" if each else "of all objects"
        kind = "lossless grey film (FFV1)" if film else "grey PNG"
        name = "+".join(filter(None, (film, each, bits)))
        found[name] = f"soft masks {words}, {kind}, {bits or 8} bits"
    return found


class Matte(Several):
    """Soft masks: of all objects in matte/ or matte.mkv, or of each in mattes/."""

    help = _matte_variants()[""]
    file = "matte"
    needs_soft = True
    variants = _matte_variants()

    @classmethod
    def file_of(cls, variant: str) -> str:
        """Return the name that says which it is."""
        words = variant.split("+")
        return "mattes" if "each" in words else "matte.mkv" if "video" in words else "matte"

    def parts(self, objects: Sequence[int]) -> list[Writer]:
        """Return the pictures or the film of all objects, or those of each."""
        words = self.variant.split("+")
        film, bits = "video" in words, 16 if "16" in words else 8
        kind = MatteFilm if film else MattePictures
        if "each" not in words:
            return [kind(self.path, self.source, None, bits)]
        suffix = ".mkv" if film else ""
        return [kind(self.path / f"{id_}{suffix}", self.source, id_, bits) for id_ in objects]
