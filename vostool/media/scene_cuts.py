"""Scene cuts, found while the frames pass by.

PySceneDetect's adaptive detector compares each frame with the one before it, in hue, saturation
and brightness, and both with the changes around them. It is given tiny frames: there even a scene
that moves fast changes less than a cut does.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from vostool.errors import VostoolError
from vostool.media.frame import Frame, Rgb

if TYPE_CHECKING:
    from scenedetect.detectors import AdaptiveDetector

AROUND = 2  # frames before and after each that it is compared with
AHEAD = AROUND + 1  # frames to come, from which it is known whether a scene begins
RATIO = 2.5  # of the change at a cut to those around it, at least
LONG_SIDE = 32  # pixels of the frames that are compared
SAMPLED = 4 * LONG_SIDE  # pixels, from which those are averaged: reading all takes long at 4K


def with_scenes(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Yield frames with the first frame of their scene; holds a few frames.

    A cut shows in the frames around it: none is found within two frames of either end. A scene
    of one frame is taken for a flash. Slow transitions, such as fades, are not found.
    """
    finder, held = CutFinder(), deque[Frame]()
    scene, problem = 0, None

    def oldest() -> Frame:
        nonlocal scene
        cut, frame = finder.is_cut(finder.count - len(held)), held.popleft()
        scene = frame.index if cut else scene
        return replace(frame, scene=scene)

    try:
        for frame in frames:
            finder.add(frame.rgb)
            held.append(frame)
            if len(held) > AHEAD:
                yield oldest()
    except VostoolError as error:  # the frames before it come first
        problem = error
    while held:
        yield oldest()
    if problem is not None:
        raise problem


class CutFinder:
    """Finds scene cuts in pictures that are added one by one."""

    def __init__(self) -> None:
        self._found: deque[int] = deque(maxlen=AHEAD + 1)  # the latest
        self.count = 0  # pictures

    @cached_property
    def _detector(self) -> "AdaptiveDetector":
        """PySceneDetect's, which takes a while to import: not before there is a picture."""
        from scenedetect.detectors import AdaptiveDetector

        return AdaptiveDetector(RATIO, min_scene_len=0, window_width=AROUND)

    def add(self, rgb: Rgb) -> None:
        """Add the next picture."""
        from scenedetect import FrameTimecode

        code = FrameTimecode(self.count, fps=25.0)  # any rate: only the number counts
        found = self._detector.process_frame(code, reduced(rgb))
        self._found.extend(each.frame_num for each in found)
        self.count += 1

    def is_cut(self, number: int) -> bool:
        """Return whether a scene begins with a picture, one of the latest; 0 is the first."""
        return number in self._found and not {number - 1, number + 1} & set(self._found)


def reduced(rgb: Rgb) -> Rgb:
    """Return a tiny copy of a picture, BGR as OpenCV has it."""
    import cv2

    step = max(1, max(rgb.shape[:2]) // SAMPLED)
    sampled = np.ascontiguousarray(rgb[::step, ::step, ::-1])
    height, width = sampled.shape[:2]
    scale = LONG_SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(sampled, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
