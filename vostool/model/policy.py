"""How a model is best used, unless the user says otherwise. Must not import torch."""

from dataclasses import dataclass
from typing import Literal

ZOOM, REACH = 4.0, 2.0  # of vostool's own weights, see `Policy`

Border = Literal["stretch", "none", "black", "mean"]


@dataclass(frozen=True)
class Policy:
    """The options that suit a model; None: those of vostool's own weights.

    `border` says how a frame becomes the network's input. "stretch": resized to multiples of the
    network's stride, by which its proportions change a little. The others keep the proportions:
    "none" as the network takes any size, "black" and "mean" by a border, of that colour, up to the
    next multiples (mean: of ImageNet's pixels).
    """

    short_side: int = 240  # of the network's input, pixels
    correction_rate: float = 180.0  # alpha of Eq. 8, in the papers' unit
    border: Border = "stretch"
    # height and width in which frames are placed on black, as large as fits, unless a size is asked
    # for
    box: tuple[int, int] | None = None
    reference: str | None = None
    memory_every: int | None = None
    memory_frames: int | None = None
    precision: str | None = None
    # up to which a region around the objects is magnified; what keeps a state of every pixel sees
    # whole frames
    zoom: float = 1.0
    # how many times the sides of an object's last box are enlarged, to remove parts of its mask
    # that do not touch that; 0: none are removed
    reach: float = 0.0
