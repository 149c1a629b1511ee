"""What weights files are: those shipped, those that others publish, and one of them looked into."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vostool.errors import UsageError, WeightsError
from vostool.files.claims import refuse_to_replace
from vostool.model.checkpoint import load_checkpoint, read_header, save_checkpoint
from vostool.model.published.kinds import KINDS, Kind, licence_of
from vostool.model.published.layout import is_finite
from vostool.model.published.reading import is_pytorch
from vostool.model.weights import DEFAULT, sha256, weights_folder


@dataclass(frozen=True)
class Shipped:
    """Named weights of the project."""

    name: str
    path: Path
    default: bool
    licence: str
    scores: str

    @property
    def report(self) -> dict[str, Any]:
        """Its entry, JSON-serialisable."""
        return {
            "name": self.name,
            "file": str(self.path),
            "default": self.default,
            "bytes": self.path.stat().st_size,
            "licence": self.licence,
            "scores": self.scores,
        }


def shipped_weights() -> list[Shipped]:
    """Return the named weights; raises WeightsError if the installation lacks them."""
    folder = weights_folder()
    table = tomllib.loads((folder / "weights.toml").read_text(encoding="utf-8"))
    return [
        Shipped(
            name=name,
            path=folder / entry["file"],
            default=table[DEFAULT] == name,
            licence=entry.get("licence", ""),
            scores=entry.get("scores", ""),
        )
        for name, entry in table.items()
        if name != DEFAULT
    ]


def report_of_kind(name: str, kind: Kind) -> dict[str, Any]:
    """Return what there is to know of a kind of published weights, JSON-serialisable."""
    return {
        "kind": name,
        "title": kind.title,
        "files": kind.files,
        "parameters": kind.parameters,
        "licence": kind.licence,
        "scores": kind.scores,
        "page": kind.page,
    }


def describe_weights(path: Path) -> dict[str, Any]:
    """Return kind, settings and card of a weights file, JSON-serialisable; raises WeightsError."""
    published = is_pytorch(path)
    card = None if published else read_header(path).get("card")
    network = load_checkpoint(path)
    kind = network.settings.published
    return {
        "file": str(path),
        "format": "PyTorch checkpoint" if published else "vostool",
        "network": network.name,
        "published": kind,
        "title": None if kind is None else KINDS[kind].title,
        "licence": licence_of(kind),
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "sha256": sha256(path),
        "settings": network.settings.model_dump(mode="json"),
        "card": card,
    }


def import_weights(source: Path, target: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Write published weights as a file of vostool, in 16 bits, and return its card.

    Raises WeightsError if they cannot be read or kept in 16 bits, UsageError if they are
    vostool's already, and OutputError if the target is taken.
    """
    if target.exists() and source.exists() and target.samefile(source):
        raise UsageError(f"{target}: is the checkpoint to import; expected another file to write")
    if not overwrite:
        refuse_to_replace([target])
    network = load_checkpoint(source)
    if not is_pytorch(source):
        raise UsageError(f"{source}: is a file of vostool already; expected a checkpoint to import")
    for name, value in network.state_dict().items():
        if not is_finite(value.half()):
            raise WeightsError(f"{source}: {name} holds values too large for 16 bits")
    kind = network.settings.published
    card = {
        "published": kind,
        "source": source.name,
        "sha256": sha256(source),
        "licence": licence_of(kind),
        "page": None if kind is None else KINDS[kind].page,
    }
    save_checkpoint(target, network, card)
    return card
