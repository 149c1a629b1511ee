"""Outputs that are one document of annotations: `coco`, `ytvis`, `cvat`.

They are written frame by frame; of a whole film at most the numbers of one object are in RAM.
"""

import json
from collections.abc import Iterator
from typing import Any, TextIO
from xml.sax.saxutils import quoteattr

import numpy as np
from pycocotools import mask as rle

from vostool.inference.soft import SegmentedFrame
from vostool.media.labels import LabelMap
from vostool.media.regions import Region, regions_of
from vostool.segment.writers.texts import Text

INFO = {"description": "made by vostool"}


def encode(labels: LabelMap, id_: int) -> dict[str, Any]:
    """Return the mask of an object as COCO has it: compressed run lengths."""
    coded = rle.encode(np.asfortranarray(labels == id_, dtype=np.uint8))
    return {"size": list(coded["size"]), "counts": coded["counts"].decode()}


def box_of(region: Region) -> list[int]:
    """Return left, top, width, height."""
    return [region.left, region.top, region.width, region.height]


class Coco(Text):
    """coco.json: the frames as images, and on each of them its objects."""

    help = "COCO instances: RLE masks, boxes, areas; track_id is the object"
    file = "coco.json"
    _annotations = 0

    def head(self) -> str:
        """Return categories and the beginning of the annotations."""
        self._annotations = 0
        names = self.source.settings.categories(self.source.objects)
        categories = [{"id": number, "name": name} for name, number in names.items()]
        first = {"info": INFO, "licenses": [], "categories": categories}
        return f'{json.dumps(first)[:-1]}, "annotations": [\n'

    def lines(self, segmented: SegmentedFrame) -> tuple[str, str]:
        """Return the annotations of a frame now, and later the frame as an image."""
        frame, settings = segmented.frame, self.source.settings
        names = settings.categories(self.source.objects)
        lines = []
        for region in regions_of(segmented.labels):
            self._annotations += 1
            annotation = {
                "id": self._annotations,
                "image_id": self.frames + 1,
                "category_id": names[settings.name_of(region.id)],
                "track_id": region.id,
                "segmentation": encode(segmented.labels, region.id),
                "area": region.area,
                "bbox": box_of(region),
                "iscrowd": 0,
            }
            comma = ",\n" if self._annotations > 1 else ""
            lines.append(comma + json.dumps(annotation))
        height, width = segmented.labels.shape
        image = {
            "id": self.frames + 1,
            "file_name": self.source.file_of(frame.name),
            "frame_index": frame.index,
            "width": width,
            "height": height,
        }
        return "".join(lines), (",\n" if self.frames else "") + json.dumps(image)

    def tail(self, later: TextIO) -> Iterator[str]:
        """Yield the images."""
        yield '\n], "images": [\n'
        yield from later
        yield "\n]}\n"


class YoutubeVis(Text):
    """ytvis.json: the video, and each object as a track over all its frames."""

    help = "YouTube-VIS: each object a track of RLE masks over the whole video"
    file = "ytvis.json"

    def lines(self, segmented: SegmentedFrame) -> tuple[str, str]:
        """Return a line with the objects of a frame, for later."""
        objects = {
            region.id: [encode(segmented.labels, region.id), box_of(region), region.area]
            for region in regions_of(segmented.labels)
        }
        line = {"file": self.source.file_of(segmented.frame.name), "objects": objects}
        return "", json.dumps(line) + "\n"

    def tail(self, later: TextIO) -> Iterator[str]:
        """Yield the document: of each object its masks one by one, then boxes and areas."""
        info, settings = self.source.info, self.source.settings
        names = settings.categories(self.source.objects)
        size = {"height": info.height, "width": info.width, "length": self.frames}
        categories = [{"id": number, "name": name} for name, number in names.items()]
        first = {"info": INFO, "licenses": [], "categories": categories}
        yield f'{json.dumps(first)[:-1]}, "videos": [{json.dumps({"id": 1, **size})[:-1]}'
        yield ', "file_names": ['
        for number, line in enumerate(_rows(later)):
            yield f"{', ' * (number > 0)}{json.dumps(line['file'])}"
        yield ']}], "annotations": ['
        for number, id_ in enumerate(self.source.objects, start=1):
            entry = {
                "id": number,
                "video_id": 1,
                "category_id": names[settings.name_of(id_)],
                "track_id": id_,
                "iscrowd": 0,
                **size,
            }
            yield (",\n" if number > 1 else "\n") + json.dumps(entry)[:-1]
            yield from _track(later, id_)
        yield "\n]}\n"


def _rows(later: TextIO) -> Iterator[dict[str, Any]]:
    later.seek(0)
    yield from map(json.loads, iter(later.readline, ""))


def _track(later: TextIO, id_: int) -> Iterator[str]:
    """Yield the rest of an object's entry."""
    boxes: list[str] = []
    areas: list[str] = []
    yield ', "segmentations": ['
    for number, row in enumerate(_rows(later)):
        mask, box, area = row["objects"].get(str(id_), (None, None, None))
        yield f"{', ' * (number > 0)}{json.dumps(mask)}"
        boxes.append(json.dumps(box))
        areas.append(json.dumps(area))
    yield f'], "bboxes": [{", ".join(boxes)}], "areas": [{", ".join(areas)}]}}'


class Cvat(Text):
    """cvat.xml: CVAT for images 1.1, each object a mask."""

    help = "CVAT for images 1.1: masks, group_id is the object"
    file = "cvat.xml"

    def head(self) -> str:
        """Return the beginning, with the labels."""
        names = self.source.settings.categories(self.source.objects)
        labels = "".join(f"<label><name>{_text(name)}</name></label>" for name in names)
        return (
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
            f"<meta><task><labels>{labels}</labels></task></meta>\n"
        )

    def lines(self, segmented: SegmentedFrame) -> tuple[str, str]:
        """Return a frame."""
        height, width = segmented.labels.shape
        masks = "".join(map(self._mask, regions_of(segmented.labels)))
        name = quoteattr(self.source.file_of(segmented.frame.name))
        size = f'width="{width}" height="{height}"'
        return f'<image id="{self.frames}" name={name} {size}>{masks}</image>\n', ""

    def _mask(self, region: Region) -> str:
        label = quoteattr(self.source.settings.name_of(region.id))
        runs = ", ".join(map(str, run_lengths(region.mask.ravel())))
        return (
            f'<mask label={label} group_id="{region.id}" source="auto" occluded="0" z_order="0" '
            f'left="{region.left}" top="{region.top}" width="{region.width}" '
            f'height="{region.height}" rle="{runs}"></mask>'
        )

    def tail(self, later: TextIO) -> Iterator[str]:
        """Yield the end."""
        yield "</annotations>\n"


def run_lengths(pixels: Any) -> list[int]:
    """Return how many pixels (K,) are alike in turn, beginning with those that are 0."""
    changes = np.flatnonzero(np.diff(pixels.astype(np.int8))) + 1
    runs: list[int] = np.diff([0, *changes, len(pixels)]).tolist()
    return [0, *runs] if pixels[0] else runs


def _text(text: str) -> str:
    return quoteattr(text, {'"': "&quot;"})[1:-1]
