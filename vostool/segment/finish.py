"""The finish of masks before they are written: grown, filled, smoothed, feathered.

The masks in memory, and so what follows, stay as they are. Label maps and soft masks are finished
alike, each object for itself; only what feathers is for soft masks alone.

Shapes: masks (H, W), bool; soft masks (H, W), float32 from 0 to 1; labels (H, W), uint8.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import cv2
import numpy as np

from vostool.errors import UsageError
from vostool.first_mask.refine import change_objects, fill_holes, grow, largest
from vostool.inference.soft import SegmentedFrame, SoftMask, SoftMasks
from vostool.media.labels import MAX_OBJECTS, BoolMask, LabelMap

MOST_PIXELS = 200.0
HALF = 0.5  # from this probability on a pixel belongs to an object


def smooth(mask: BoolMask, pixels: float) -> BoolMask:
    """Return a mask with its outline smoothed: the half of a Gaussian of so many pixels."""
    return np.asarray(blur(mask.astype(np.float32), pixels) >= HALF)


def blur(soft: SoftMask, pixels: float) -> SoftMask:
    """Return a soft mask under a Gaussian; beyond the edge of the frame it goes on as there."""
    if pixels <= 0:
        return soft
    return cv2.GaussianBlur(soft, (0, 0), pixels, borderType=cv2.BORDER_REPLICATE).astype(
        np.float32, copy=False
    )


def grow_soft(soft: SoftMask, pixels: float) -> SoftMask:
    """Return a soft mask in which each pixel is as the most within so many pixels, or the least."""
    radius = math.floor(abs(pixels))
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = (np.hypot(rows, columns) <= abs(pixels) + 1e-3).astype(np.uint8)
    change = cv2.dilate if pixels > 0 else cv2.erode  # beyond the edge of the frame is neither
    return change(soft, disc).astype(np.float32, copy=False)


def fill_soft(soft: SoftMask, _: float) -> SoftMask:
    """Return a soft mask without holes in what is more than half of the object."""
    inside = soft > HALF
    return np.where(fill_holes(inside) & ~inside, np.float32(1), soft)


def largest_soft(soft: SoftMask, _: float) -> SoftMask:
    """Return a soft mask without what is nearer to another part than to the largest one."""
    inside = soft > HALF
    main = largest(inside)
    others = inside & ~main
    if not others.any():
        return soft
    near, far = (
        cv2.distanceTransform((~part).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        for part in (main, others)
    )
    return np.where(far < near, np.float32(0), soft)


def smooth_soft(soft: SoftMask, pixels: float) -> SoftMask:
    """Return a soft mask with its outline smoothed and its edge about as steep as before."""
    steep = (blur(soft, pixels) - HALF) * (1 + pixels) + HALF
    return steep.clip(0, 1).astype(np.float32, copy=False)


# by name: what it does to masks, and to soft ones
OPERATIONS: dict[
    str, tuple[Callable[[BoolMask, float], BoolMask], Callable[[SoftMask, float], SoftMask]]
] = {
    "grow": (grow, grow_soft),
    "feather": (lambda mask, _: mask, blur),
    "fill": (lambda mask, _: fill_holes(mask), fill_soft),
    "largest": (lambda mask, _: largest(mask), largest_soft),
    "smooth": (smooth, smooth_soft),
}
WITHOUT_PIXELS = ("fill", "largest")
EXAMPLE = "such as grow=2,feather=1.5,fill,largest,smooth=3, or 2:grow=3 for object 2 alone"


@dataclass(frozen=True)
class Step:
    """One operation, of all objects or of one."""

    name: str
    pixels: float = 0.0
    object: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return a step of such as "grow=2", "fill" or "2:grow=3"; raises UsageError."""
        number, colon, rest = text.rpartition(":")
        name, equals, amount = (each.strip() for each in rest.partition("="))
        if name not in OPERATIONS or bool(equals) == (name in WITHOUT_PIXELS):
            raise UsageError(f"finish: expected {EXAMPLE}; found {text or 'none'}")
        known = number.strip().isdecimal() and len(number) < 4
        if colon and not (known and 1 <= int(number) <= MAX_OBJECTS):
            raise UsageError(f"finish: expected an object's id in front of {rest}, found {number}")
        try:
            pixels = float(amount) if equals else 0.0
        except ValueError:
            pixels = math.nan
        least = -MOST_PIXELS if name == "grow" else 0
        if not least <= pixels <= MOST_PIXELS:
            bounds = f"{least:g} to {MOST_PIXELS:g} pixels"
            raise UsageError(f"finish: {name}: expected {bounds}, found {amount}")
        return cls(name, pixels, int(number) if colon else None)

    def of_labels(self, labels: LabelMap) -> LabelMap:
        """Return labels with this done."""

        def change(mask: BoolMask) -> BoolMask:
            id_ = int(labels.flat[mask.argmax()])  # of its first pixel
            return OPERATIONS[self.name][0](mask, self.pixels) if self.is_for(id_) else mask

        return change_objects(labels, change)

    def of_soft(self, soft: SoftMask) -> SoftMask:
        """Return a soft mask with this done."""
        return OPERATIONS[self.name][1](soft, self.pixels) if soft.any() else soft

    def is_for(self, id_: int) -> bool:
        """Return whether it is for an object."""
        return self.object is None or self.object == id_


@dataclass(frozen=True)
class FinishedMasks(SoftMasks):
    """Soft masks that are finished when they are asked for."""

    steps: tuple[Step, ...] = ()

    def of(self, id_: int) -> SoftMask:
        """Return the soft mask (H, W) of an object."""
        soft = super().of(id_)
        for step in self.steps:
            soft = step.of_soft(soft) if step.is_for(id_) else soft
        return soft

    def of_all(self) -> SoftMask:
        """Return the soft mask (H, W) of all objects together."""
        whole = np.zeros(self.size, np.float32)
        for id_ in self.present:
            whole += self.of(id_)
        return whole.clip(0, 1)


@dataclass(frozen=True)
class Finish:
    """What is done to the masks of a frame, in order; by default nothing."""

    steps: tuple[Step, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return that of a list with commas; raises UsageError."""
        return cls(tuple(Step.parse(part) for part in text.split(",")) if text.strip() else ())

    def __call__(self, segmented: SegmentedFrame) -> SegmentedFrame:
        """Return a frame with its masks finished; labels that are so already stay as they are."""
        labels, soft = segmented.labels, segmented.soft
        if not self.steps:
            return segmented
        for step in () if segmented.finished else self.steps:
            labels = step.of_labels(labels)
        if soft is not None:
            parts = (soft.ids, soft.small, soft.size, soft.given)
            soft = FinishedMasks(*parts, steps=self.steps)
        return replace(segmented, labels=labels, soft=soft, finished=True)
