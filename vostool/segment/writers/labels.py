"""Outputs with a file of labels for every frame: `per-object`, `labelme`, `yolo`."""

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vostool.files import is_file, write_bytes, write_text
from vostool.inference.soft import SegmentedFrame
from vostool.media.regions import Region, regions_of
from vostool.segment.writers.interface import Source, Writer
from vostool.segment.writers.pictures import Pictures
from vostool.segment.writers.several import Several


def encode_png(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bytes:
    """Return grey pixels (H, W) as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


class ObjectMasks(Pictures):
    """The masks of one object, white on black."""

    file = "per-object"

    def __init__(self, path: Path, source: Source, id_: int) -> None:
        """Prepare to write into a folder of pictures."""
        super().__init__(path.parent, source)
        self.path, self.id = path, id_

    def write(self, path: Path, segmented: SegmentedFrame) -> None:
        """Write a mask."""
        white = np.where(segmented.labels == self.id, np.uint8(255), np.uint8(0))
        write_bytes(path, encode_png(white), sync=False)


class PerObject(Several):
    """per-object/1/00000.png: white where the object is, else black."""

    help = "masks of each object in a folder of its own, white on black, PNG"
    file = "per-object"

    def parts(self, objects: Sequence[int]) -> list[Writer]:
        """Return the pictures of each object."""
        return [ObjectMasks(self.path / str(id_), self.source, id_) for id_ in objects]


class Labelme(Pictures):
    """labelme/00000.json: the objects as shapes that are masks."""

    help = "labelme: of every frame the objects as masks, group_id is the object"
    file = "labelme"
    suffix = ".json"

    def is_whole(self, path: Path) -> bool:
        """Return whether a file can be read to its end."""
        try:
            json.loads(path.read_bytes())
        except (OSError, ValueError):
            return False
        return True

    def write(self, path: Path, segmented: SegmentedFrame) -> None:
        """Write the shapes of a frame."""
        height, width = segmented.labels.shape
        document = {
            "version": "5.5.0",
            "flags": {},
            "shapes": [self._shape(region) for region in regions_of(segmented.labels)],
            "imagePath": self.source.file_of(segmented.frame.name),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        write_bytes(path, json.dumps(document).encode(), sync=False)

    def _shape(self, region: Region) -> dict[str, object]:
        mask = encode_png(region.mask.astype(np.uint8) * np.uint8(255))
        right, bottom = region.left + region.width - 1, region.top + region.height - 1
        return {
            "label": self.source.settings.name_of(region.id),
            "points": [[region.left, region.top], [right, bottom]],
            "group_id": region.id,
            "description": "",
            "shape_type": "mask",
            "flags": {},
            "mask": base64.b64encode(mask).decode(),
        }


class Yolo(Pictures):
    """yolo/labels/00000.txt and yolo/data.yaml: outlines for training."""

    help = "YOLO segmentation: class and outline of every part, without holes; data.yaml"
    file = "yolo"
    suffix = ".txt"

    @property
    def pictures(self) -> Path:
        """The folder of the labels."""
        return self.path / "labels"

    @property
    def folders(self) -> list[Path]:
        """The folder of the labels, and the one around it."""
        return [self.pictures, self.path]

    @property
    def _names(self) -> Path:
        return self.path / "data.yaml"

    def is_whole(self, path: Path) -> bool:
        """Return whether a file is there; one without an object is empty."""
        return is_file(path)

    def is_complete(self, frames: int) -> bool:
        """Return whether the labels of every frame are there, and their names."""
        return is_file(self._names) and super().is_complete(frames)

    def replaced(self) -> list[Path]:
        """Return the labels of frames, and their names."""
        part = self._names.with_name(f"{self._names.name}.part")
        return [*super().replaced(), *filter(is_file, (self._names, part))]

    def write(self, path: Path, segmented: SegmentedFrame) -> None:
        """Write the outlines of a frame."""
        height, width = segmented.labels.shape
        settings = self.source.settings
        classes = settings.categories(self.source.objects)
        lines = []
        for region in regions_of(segmented.labels):
            number = classes[settings.name_of(region.id)] - 1
            for outline in region.outlines():
                points = outline if len(outline) > 2 else np.resize(outline, (3, 2))
                shares = (points + 0.5) / (width, height)
                lines.append(f"{number} {' '.join(f'{each:.6f}' for each in shares.ravel())}\n")
        write_bytes(path, "".join(lines).encode(), sync=False)

    def finish(self) -> None:
        """Write the names of the classes."""
        names = self.source.settings.categories(self.source.objects)
        lines = [
            f"  {number - 1}: {json.dumps(name, ensure_ascii=False)}\n"
            for name, number in names.items()
        ]
        write_text(self._names, f"path: .\ntrain: images\nval: images\nnames:\n{''.join(lines)}")
