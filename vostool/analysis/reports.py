"""The reports of `vostool erf` and `vostool spectrum`: erf.json and spectrum.json."""

from typing import Any, Literal

from pydantic import Field

from vostool.files.documents import Document
from vostool.inference.reports import Network


class ResponseReport(Document):
    """The cycle-ERF of one frame under one network, in figures."""

    weights: str  # as in the titles of the pictures
    frame: int
    inside: Literal["truth", "prediction"]  # of which mask `share` and `area` are
    share: float | None  # of the response that lies inside the object; None: no response
    area: float  # the object's share of the frame
    highest: float


class ErfReport(Document):
    """What was analysed, and how much of each response lies on the object."""

    schema_version: int = 1
    versions: dict[str, str]
    networks: list[Network]
    options: dict[str, Any]
    input: dict[str, Any]
    mask_frame: int
    warnings: list[str] = Field(default_factory=list)
    responses: list[ResponseReport]
    picture: str
    strip: str | None
    animation: str
    array: str


class BandReport(Document):
    """Amplitudes of the masks in a band of frequencies."""

    ratio: float  # the mean of Eq. 9
    before: float
    after: float
    after_to_before: float | None  # of the mean amplitudes; None: there were none before


class SpectrumReport(Document):
    """The clips, the correction, and the response by band."""

    schema_version: int = 1
    versions: dict[str, str]
    network: Network
    options: dict[str, Any]
    clips: list[str]
    masks: int
    warnings: list[str] = Field(default_factory=list)
    bands: dict[str, BandReport]
    picture: str
    before: str
    after: str
    ratio: str
