"""What commands print: results on stdout, everything else on stderr."""

import json
import sys
from pathlib import Path
from typing import Any


def tell(words: str, quiet: bool = False) -> None:
    """Say something to the person, on stderr."""
    if not quiet:
        print(words, file=sys.stderr, flush=True)


def print_result(report: dict[str, Any], as_json: bool, paths: tuple[str, ...]) -> None:
    """Print the result on stdout: the whole report, or the paths in it."""
    if as_json:
        print(json.dumps(report, default=str))
        return
    for name in paths:
        if report[name] is not None:
            print(report[name])


def print_path(path: Path, as_json: bool) -> None:
    """Print a path on stdout, unless a document is to stand there."""
    if not as_json:
        print(path)
