"""A short clip for `--demo`, rendered here: a ball and a kite over moving hills.

The clip has what makes segmentation hard (motion, rotation, one object passing behind a tree) and
comes with a mask of its first frame, so that a new user needs no data. The colours are chosen so
that the red and green of the overlay show on them.
"""

from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vostool.errors import OutputError
from vostool.media.masks import write_mask
from vostool.media.writer import VideoWriter

HEIGHT, WIDTH, FRAMES, RATE = 360, 640, 75, Fraction(25)
BALL, KITE = 1, 2

Array = NDArray[np.float32]


def render_demo(folder: Path) -> tuple[Path, list[str]]:
    """Write demo.mp4 and demo-mask.png into a folder; return the video and the masks to give.

    They come out the same every time; if both are there already, they are taken as they are.
    Raises OutputError if they cannot be written.
    """
    video, mask = folder / "demo.mp4", folder / "demo-mask.png"
    if video.exists() and mask.exists():
        return video, [str(mask)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from error
    with VideoWriter(video, width=WIDTH, height=HEIGHT, rate=RATE) as writer:
        for index in range(FRAMES):
            rgb, labels = render_frame(index / FRAMES)
            writer.write(rgb, Fraction(index) / RATE)
            if index == 0:
                write_mask(mask, labels)
    return video, [str(mask)]


def render_frame(moment: float) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw the scene at a moment in [0, 1): picture (H, W, 3) and labels (H, W)."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    picture = backdrop(x + 120 * moment, y)
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    layers = (  # back to front: the ball passes behind the tree
        (BALL, ball(x, y, moment)),
        (0, tree(x + 120 * moment, y)),
        (KITE, kite(x, y, moment)),
    )
    for id_, (cover, paint) in layers:
        picture = blend(picture, cover, paint)
        labels[cover > 0.5] = id_
    random = np.random.default_rng(int(moment * 1e6))
    grain = 0.012 * random.standard_normal(picture.shape, dtype=np.float32)
    return (np.clip(picture + grain, 0, 1) * 255).astype(np.uint8), labels


def backdrop(x: Array, y: Array) -> Array:
    """Sky over three rows of hills; `x` moves with the camera."""
    depth = np.clip(y / HEIGHT, 0, 1)[..., None]
    picture = (1 - depth) * np.array([0.45, 0.65, 0.90]) + depth * np.array([0.85, 0.90, 0.95])
    rows = ((0.45, 0.4, (0.45, 0.55, 0.62)), (0.62, 0.7, (0.35, 0.48, 0.35)))
    for level, nearness, colour in (*rows, (0.80, 1.0, (0.28, 0.40, 0.18))):
        along = x * nearness
        crest = level * HEIGHT + 16 * np.sin(along / 47 + 9 * level) + 9 * np.sin(along / 19)
        texture = 0.06 * np.sin(along / 3.1 + np.sin(y / 5)) * np.sin(y / 2.3 + along / 11)
        picture = blend(picture, smooth(y - crest), np.array(colour) + texture[..., None])
    return picture


def ball(x: Array, y: Array, moment: float) -> tuple[Array, Array]:
    """A striped violet ball that hops from left to right."""
    radius = 44.0
    middle = (90 + 460 * moment, 255 - 110 * abs(np.sin(3.0 * np.pi * moment)))
    right, down = (x - middle[0]) / radius, (y - middle[1]) / radius
    distance = np.hypot(right, down)
    turn = 5 * moment
    across = right * np.cos(turn) + down * np.sin(turn)
    stripe = smooth(np.sin(5.5 * across), 0.15)[..., None]
    colour = stripe * np.array([0.72, 0.42, 0.92]) + (1 - stripe) * np.array([0.93, 0.78, 0.98])
    light = np.clip(1.05 - 0.45 * np.hypot(right + 0.4, down + 0.5), 0.35, 1.1)[..., None]
    return smooth((1 - distance) * radius), colour * light


def kite(x: Array, y: Array, moment: float) -> tuple[Array, Array]:
    """A yellow kite that sways and comes nearer."""
    scale = 46 + 20 * moment
    middle = (560 - 200 * moment, 95 + 28 * np.sin(2 * np.pi * moment))
    turn = 0.5 * np.sin(2 * np.pi * moment)
    right, down = (x - middle[0]) / scale, (y - middle[1]) / scale
    u = right * np.cos(turn) + down * np.sin(turn)
    v = down * np.cos(turn) - right * np.sin(turn)
    inside = 1 - (np.abs(u) / 0.8 + np.abs(v) / 1.2)
    half = smooth(u * scale)[..., None]
    colour = half * np.array([0.98, 0.80, 0.20]) + (1 - half) * np.array([0.93, 0.42, 0.10])
    return smooth(inside * scale), colour


def tree(x: Array, y: Array) -> tuple[Array, Array]:
    """A trunk, behind which the ball passes."""
    bark = 0.05 * np.sin(x * 0.9 + np.sin(y / 9)) + 0.03 * np.sin(y / 4)
    edge = 11 + 2 * np.sin(y / 31) - np.abs(x - 395)
    return smooth(edge), np.array([0.30, 0.21, 0.14]) + bark[..., None]


def blend(below: Array, cover: Array, above: Array) -> Array:
    """Lay one picture over another where `cover` (H, W) in [0, 1] says so."""
    return below + cover[..., None] * (above - below)


def smooth(distance: Array, width: float = 1.0) -> Array:
    """Turn a signed distance in pixels into a soft step from 0 to 1."""
    return np.clip(distance / width + 0.5, 0, 1)
