"""The disturbance of a run's memory (`--disturb`): what it does, and what it knows of frames."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import torch
from torch import Tensor

from vostool import defaults
from vostool.errors import InputError, UsageError
from vostool.inference.given_mask import annotation_of
from vostool.inference.oom import image_at
from vostool.inference.options import ModelOptions
from vostool.inference.placement import Placement
from vostool.media.frame import Frame
from vostool.media.labels import LabelMap
from vostool.model.borders import Bordered
from vostool.propagation.disturbance import Attack, Boxes, Disturbance, Replacement
from vostool.propagation.frames import Annotation, KnownFrame

if TYPE_CHECKING:
    from vostool.inference.predictor import Predictor

# the objects of a frame as a disturbance knows them, by id; None where it knows none
KnownObjects: TypeAlias = Callable[[Frame], LabelMap | None]


@dataclass(frozen=True)
class MemoryDisturbance:
    """A disturbance of the memory, as the options ask for it."""

    kind: str  # box, masks, fgsm or mi-fgsm
    every: int = defaults.DISTURB_EVERY
    masks: Path | None = None  # the folder of other masks, one folder per clip
    strength: float = defaults.STRENGTH  # of an attack, in 1/255
    steps: int = defaults.ATTACK_STEPS  # of mi-fgsm
    attacker: "Predictor | None" = None  # None: an attack uses the model itself (white box)

    @property
    def method(self) -> Disturbance:
        """What the frame loop calls."""
        if self.kind == "box":
            return Boxes(self.every)
        if self.kind == "masks":
            return Replacement(self.every)
        iterative = self.kind == "mi-fgsm"
        return Attack(
            every=self.every,
            strength=self.strength,
            steps=self.steps if iterative else 1,
            momentum=defaults.ATTACK_MOMENTUM if iterative else 0.0,
            # it takes the frames of the model attacked, whose sizes may be none of its own
            attacker=None if self.attacker is None else Bordered(self.attacker.segmenter),
        )

    @property
    def options(self) -> dict[str, Any]:
        """All that affects the masks, JSON-serialisable."""
        method = self.method
        found: dict[str, Any] = {"kind": self.kind, "every": self.every}
        if self.masks is not None:
            found["masks"] = str(self.masks.resolve())
        if isinstance(method, Attack):
            found |= {name: getattr(method, name) for name in ("strength", "steps", "momentum")}
            found["attacker"] = self.attacker and self.attacker.identity.effective
        return found

    def within(self, objects_at_once: int | None) -> Self:
        """Return this disturbance with an attacker that processes so many objects at a time."""
        attacker = self.attacker and replace(self.attacker, objects_at_once=objects_at_once)
        return replace(self, attacker=attacker)

    def check_without_truth(self) -> None:
        """Raise UsageError if the disturbance needs to know the objects of frames."""
        if self.kind != "box":
            raise UsageError(
                f"--disturb {self.kind}: needs frames whose objects are known, as of vostool eval; "
                "elsewhere box is possible, of the predicted masks"
            )


def disturbance_of(
    options: ModelOptions, load: "Callable[[ModelOptions], Predictor]"
) -> MemoryDisturbance | None:
    """Return the disturbance that the options ask for, if any; `load` loads an attacker.

    Raises InputError for a folder of masks that is missing, and what loading raises.
    """
    if options.disturb is None:
        return None
    kind, _, folder = options.disturb.partition(":")
    if folder and not Path(folder).is_dir():
        raise InputError(f"--disturb masks:{folder}: no such folder")
    same = options.model_dump(include={"device", "precision", "objects_at_once"})
    attacker = options.attacker and load(ModelOptions(weights=options.attacker, **same))
    given = {
        "every": options.disturb_every,
        "strength": options.strength,
        "steps": options.attack_steps,
    }
    return MemoryDisturbance(
        kind,
        masks=Path(folder) if folder else None,
        attacker=attacker or None,
        **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
    )


def known_frames(
    window: Sequence[tuple[Frame, Tensor | None]],
    known: KnownObjects | None,
    device: torch.device,
    place: Placement,
) -> list[KnownFrame]:
    """Return frames as a disturbance takes them, of which some may have been resized ahead."""
    return [
        KnownFrame(
            image_at(frame.rgb, resized, place, device),
            None if known is None else known_annotation(known(frame), place, device),
        )
        for frame, resized in window
    ]


def known_annotation(
    labels: LabelMap | None, place: Placement, device: torch.device
) -> Annotation | None:
    """Return known objects in the network's input; there may be none on the frame."""
    if labels is None:
        return None
    if not labels.any():
        return Annotation((), torch.zeros(1, 0, *place.size, device=device))
    return annotation_of(labels, place, device)
