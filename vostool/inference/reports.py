"""Parts that the reports of several commands share. Must not import torch."""

from typing import Any

from vostool.files.documents import Document


class Network(Document):
    """Which network made a result."""

    model: str
    file: str | None  # of the weights; None: a plug-in model's own
    sha256: str | None
    settings: dict[str, Any] | None
    published: str | None = None  # the kind of published weights, if these are some
    licence: str | None = None  # as far as it is known
