"""A loaded network and its inference settings."""

from copy import copy
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import BaseModel

from vostool.device import precision_name
from vostool.errors import UsageError
from vostool.inference.cuts import OnCut
from vostool.inference.disturbance import MemoryDisturbance
from vostool.inference.oom import Limits
from vostool.inference.options import OWN_MODEL
from vostool.inference.placement import Placement
from vostool.inference.reports import Network
from vostool.model.borders import NO_PADDING, Bordered, to_multiples
from vostool.model.interface import LimitedMemory, RecurrentModel, Segmenter, memory_limit
from vostool.model.object_chunks import InChunks
from vostool.model.policy import Border
from vostool.model.published.kinds import licence_of
from vostool.model.weights import sha256
from vostool.preprocess import Size, size_in_box, working_size
from vostool.propagation.correction import GradientCorrection
from vostool.propagation.group import FrameLoop
from vostool.propagation.references import MEMORY, References


@dataclass(frozen=True)
class Predictor:
    """A loaded network and its inference settings."""

    network: Segmenter[Any, Any]
    weights: Path | None  # None: a plug-in model's own
    device: torch.device
    precision: torch.dtype
    size: int = 240  # short side of the network's input, pixels
    references: References = MEMORY
    memory_frames: int | None = None  # the most that the memory bank holds
    objects_at_once: int | None = None  # the most that the network processes at a time
    correction: GradientCorrection | None = None
    name: str = OWN_MODEL  # of the model
    disturbance: MemoryDisturbance | None = None
    border: Border = "stretch"  # see `Policy`
    box: Size | None = None  # that frames are placed in, at the size of its height
    zoom: float = 1.0  # up to which a region around the objects is magnified, see `place_next`
    reach: float = 0.0  # of an object from one frame to the next, see `ReachFilter`; 0: any
    compiled: bool = False  # the network, unless that failed; see `vostool.model.compiled`

    @property
    def limits(self) -> Limits:
        """What bounds its memory use; of `memory_frames` only if the network has such a limit."""
        return Limits(self.size, self.objects_at_once, memory_limit(self.network))

    def within(self, limits: Limits) -> Self:
        """Return this predictor with other limits."""
        other = replace(
            self,
            size=limits.size,
            objects_at_once=limits.objects_at_once,
            disturbance=self.disturbance and self.disturbance.within(limits.objects_at_once),
        )
        if limits.memory_frames == memory_limit(self.network):
            return other
        network = copy(self.network)  # the weights are shared
        if isinstance(network, LimitedMemory):
            network.memory_frames = limits.memory_frames
        return replace(other, network=network, memory_frames=limits.memory_frames)

    def placement(self, height: int, width: int) -> Placement:
        """Return how whole frames of this height and width lie in the input of the frame loop.

        A black border is not in it: the segmenter adds that itself.
        """
        if self.box is not None:
            tall, wide = self.box
            box = self.size, round(self.size * wide / tall)
            return Placement(size_in_box(height, width, box))
        stride = self.network.stride
        if self.border == "stretch":
            return Placement(working_size(height, width, self.size, stride))
        size = working_size(height, width, self.size, 1)
        return Placement(size, to_multiples(size, stride) if self.border == "mean" else NO_PADDING)

    @property
    def segmenter(self) -> Segmenter[Any, Any]:
        """The network, with borders, run on at most `objects_at_once` objects at a time."""
        network = self.network
        if self.box is not None or self.border == "black":
            network = Bordered(network, self.box)
        return InChunks(network, self.objects_at_once)

    @cached_property
    def loop(self) -> FrameLoop[Any, Any]:
        """The frame loop that runs it; always the same object, which tells its tracks apart."""
        most = memory_limit(self.network) or self.memory_frames
        disturbance = None if self.disturbance is None else self.disturbance.method
        return FrameLoop(
            self.segmenter,
            self.references,
            self.correction,
            most,
            disturbance,
            recurrent=isinstance(self.network, RecurrentModel),
        )

    @cached_property
    def identity(self) -> Network:
        """Model, weights file and settings.

        Cached, as the whole file is read for its hash.
        """
        settings = getattr(self.network, "settings", None)
        return Network(
            model=self.name,
            file=str(self.weights) if self.weights else None,
            sha256=sha256(self.weights) if self.weights else None,
            settings=settings.model_dump(mode="json") if isinstance(settings, BaseModel) else None,
            published=self.published,
            licence=self.licence,
        )

    def check_cuts(self, cuts: OnCut) -> None:
        """Raise UsageError if nothing would be left to seek objects by after a scene cut."""
        if cuts is OnCut.RESET and not self.references.annotated:
            raise UsageError("--cuts reset: --reference previous remembers no given mask")

    @property
    def licence(self) -> str | None:
        """The licence of published weights, as far as their makers state one."""
        return licence_of(self.published)

    @property
    def published(self) -> str | None:
        """The kind of published weights that these are, a key of `KINDS`; None: others."""
        return getattr(getattr(self.network, "settings", None), "published", None)

    @property
    def memory_every(self) -> int | None:
        """How often a recurrent model memorises a frame itself; None: `references` say so."""
        return self.network.memory_every if isinstance(self.network, RecurrentModel) else None

    @property
    def options(self) -> dict[str, Any]:
        """All settings but the weights that affect the masks, JSON-serialisable."""
        # without what a subclass adds, such as a clock
        names = [field.name for field in fields(GradientCorrection)]
        moving = self.correction if self.correction and self.correction.moves else None
        disturbed = {"disturbance": self.disturbance.options} if self.disturbance else {}
        box = None if self.box is None else list(self.box)  # as JSON has it
        placed = {"border": self.border, "box": box} if self.border != "stretch" else {}
        views = {"zoom": self.zoom} if self.zoom != 1 else {}
        views |= {"reach": self.reach} if self.reach else {}
        compiled = {"compiled": True} if self.compiled else {}
        kept = {} if self.memory_every is None else {"memory_every": self.memory_every}
        return {
            "device": str(self.device),
            "precision": precision_name(self.precision),
            "size": self.size,
            "references": asdict(self.references),
            "memory_frames": self.memory_frames,
            "objects_at_once": self.objects_at_once,
            "correction": moving and {name: getattr(moving, name) for name in names},
            **placed,
            **views,
            **kept,
            **compiled,
            **disturbed,
        }
