"""Find weights by name or path, and identify them by their hash.

Named weights lie in the folder `weights` of the project, installed as `vostool/_weights`;
its weights.toml lists them.
"""

import hashlib
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

from vostool.errors import WeightsError

DEFAULT = "default"


def find_weights(name: str) -> Path:
    """Return the file of a name in weights.toml, or of a path.

    Raises WeightsError if it is neither.
    """
    path = Path(name)
    with suppress(OSError):  # too long for any file
        if path.is_file():
            return path
    if path.suffix or len(path.parts) > 1:
        raise WeightsError(f"{name}: no such weights file")
    table = weights_table()
    entry = table.get(table[DEFAULT] if name == DEFAULT else name)
    if not isinstance(entry, dict):
        raise WeightsError(
            f"{name}: no weights of that name; expected one of {', '.join(weights_names())}"
        )
    return weights_folder() / str(entry["file"])


def weights_names() -> list[str]:
    """Return the names of the weights in weights.toml; raises WeightsError as `find_weights`."""
    return [name for name in weights_table() if name != DEFAULT]


def weights_table() -> dict[str, Any]:
    """Return weights.toml; raises WeightsError if the installation lacks it."""
    return tomllib.loads((weights_folder() / "weights.toml").read_text(encoding="utf-8"))


def weights_folder() -> Path:
    """Return the folder of the named weights, installed or in a checkout."""
    here = Path(__file__).parent.parent
    for folder in (here / "_weights", here.parent / "weights"):
        if (folder / "weights.toml").is_file():
            return folder
    raise WeightsError(f"{here / '_weights'}: the installed weights are missing; install again")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
