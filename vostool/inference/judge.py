"""The cycle as a judge: how well do a frame's masks explain the mask that was given?

From the frame alone, memorised with its predicted masks, the network predicts the objects on
their reference frame (journal Eq. 2); where it finds them again, the masks were right.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from vostool.device import is_out_of_memory, release_memory
from vostool.inference.checks import Check
from vostool.inference.placement import Placement
from vostool.model.interface import Segmenter
from vostool.propagation.cycle import revisit
from vostool.propagation.frames import Prediction
from vostool.propagation.group import Group

DIGITS = 4  # of a score; 32 bits show more, which mean nothing

Look: TypeAlias = Callable[[], tuple[Placement, Any]]  # to a frame's placement and features

log = logging.getLogger(__name__)


@dataclass
class Judge:
    """Checks every so many frames of a run, and keeps the scores."""

    every: int  # 0: never
    start: int = 0  # the first frame
    checks: list[Check] = field(default_factory=list)

    def due(self, frame: int) -> bool:
        """Return whether a frame is to be checked."""
        return self.every > 0 and (frame - self.start) % self.every == 0

    def check(
        self,
        frame: int,
        prediction: Prediction[Any],
        place: Placement,
        groups: Iterable[Group[Any, Any]],
        segmenter: Segmenter[Any, Any],
        without: Collection[int] = (),
        look: Look | None = None,
    ) -> None:
        """Check the objects of a frame, `without` some, if that is due.

        The masks are those of the whole frame, which the network saw in that placement. `look`, if
        given, encodes the frame again and returns its placement and features, for masks that reach
        beyond what the network saw.
        `groups` hold their references; of an object in several, the first one's counts. A frame
        for which memory does not suffice is passed over.
        """
        if not self.due(frame):
            return
        try:
            if look is not None:
                place, features = look()
                prediction = replace(prediction, features=features)
            found = list(judge(frame, prediction, place, groups, segmenter, without))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            self.checks += found
            return
        release_memory(prediction.masks.device)
        log.warning("frame %d: not enough memory to check it", frame)


@torch.no_grad()
def judge(
    frame: int,
    prediction: Prediction[Any],
    place: Placement,
    groups: Iterable[Group[Any, Any]],
    segmenter: Segmenter[Any, Any],
    without: Collection[int] = (),
) -> Iterator[Check]:
    """Yield a check of each object of a frame that has a reference, as `Judge.check`."""
    done, placed = set(without), place.from_whole(prediction.masks)
    for group in groups:
        wanted = [id_ for id_ in group.ids if id_ in prediction.ids and id_ not in done]
        if not wanted or not set(group.ids) <= set(prediction.ids):
            continue
        done |= set(wanted)
        channels = (0, *(1 + prediction.ids.index(id_) for id_ in group.ids))
        masks = placed[:, channels]
        back = revisit(segmenter, prediction.features, masks, group.reference)
        values = measure(prediction.masks, channels[1:], back, group.reference.masks)
        for id_, (score, confidence, presence, area) in zip(
            group.ids, values.tolist(), strict=True
        ):
            if id_ in wanted:
                yield Check(
                    frame=frame,
                    object=id_,
                    score=round(score, DIGITS),
                    confidence=round(confidence, DIGITS),
                    presence=round(presence, DIGITS),
                    area=round(area, DIGITS),
                )


def measure(masks: Tensor, channels: Collection[int], back: Tensor, truth: Tensor) -> Tensor:
    """Return score, confidence, presence and area of some objects, (N, 4).

    `masks` are those of the frame, `back` those of the reference as predicted from it, and
    `truth` those given there; all of a batch of one.
    """
    labels, found = masks.argmax(dim=1), back.argmax(dim=1)
    rows = []
    for number, channel in enumerate(channels, start=1):
        own, again, given = labels == channel, found == number, truth[:, number] > 0.5
        shared, either = (again & given).sum(), (again | given).sum()
        pixels = own.sum()
        probability = masks[:, channel].float()
        rows.append(
            torch.stack(
                [
                    shared / either.clamp(min=1),
                    (probability * own).sum() / pixels.clamp(min=1),
                    probability.amax(),
                    pixels / own.numel(),
                ]
            )
        )
    return torch.stack(rows).float()
