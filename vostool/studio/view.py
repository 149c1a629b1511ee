"""What the page shows of a session, as one JSON document.

It is small and whole each time: a page that missed some is up to date with the next.
"""

import shlex
import time
from collections import defaultdict
from dataclasses import asdict
from typing import Any

from vostool import defaults
from vostool.inference.options import ModelOptions, option_name
from vostool.media.labels import PALETTE
from vostool.model.weights import weights_names
from vostool.studio.painted import FOLDER
from vostool.studio.session import SAVABLE, Session

SIZES = (240, 320, 400, 480, 600, 720)  # offered for --size


def state_of(session: Session) -> dict[str, Any]:
    """Return what there is to show, JSON-serialisable."""
    now = time.monotonic()  # first: a state with a later time has nothing older in it
    run, frames, info = session.run, session.frames, session.info
    return {
        "time": now,
        "video": {
            "name": session.video.name,
            "width": info.width,
            "height": info.height,
            "rate": None if info.rate is None else float(info.rate),
            "frames": frames.count if frames.ended else max(info.frames or 0, frames.count),
            "read": frames.count,
            "ended": frames.ended,
            "problem": frames.problem,
        },
        "objects": [
            {"id": id_, "name": name, "colour": list(PALETTE[3 * id_ : 3 * id_ + 3])}
            for id_, name in sorted(session.names.items())
        ],
        "revision": session.runner.revision,
        "marks": marks_of(session),
        "valid": session.valid,
        "followed": session.following.frames,
        "complete": session.is_complete,
        "run": run and asdict(run),
        "problem": session.runner.problem,
        "undo": bool(session.painted.done),
        "redo": bool(session.painted.undone),
        "options": {
            **session.options.model_dump(include={"size", "gc_every", "weights"}),
            "backward": session.backward,
        },
        # those of the video are the run's too
        "warnings": list(dict.fromkeys([*frames.warnings, *session.results.warnings])),
        "folder": str(session.folder),
        "saved": list(session.saved),
        "command": command_of(session),
    }


def marks_of(session: Session) -> list[dict[str, Any]]:
    """Return what the timeline marks, of each kind in order of frames."""
    found: dict[int, list[int]] = defaultdict(list)
    for frame, id_ in sorted(session.painted.places):
        found[frame].append(id_)
    given = [{"frame": frame, "kind": "given", "ids": ids} for frame, ids in found.items()]
    doubtful = [
        {
            "frame": frame,
            "kind": "doubtful",
            "ids": sorted(found),
            "confidence": min(found.values()),
        }
        for frame, found in session.results.doubtful(session.valid).items()
    ]
    cuts = [{"frame": frame, "kind": "cut", "ids": []} for frame in session.frames.cuts]
    return [*given, *doubtful, *cuts]


def choices_of(session: Session) -> dict[str, Any]:
    """Return what the page offers to choose from, which stays the same."""
    options = session.options
    return {
        "sizes": sorted({*SIZES, *([options.size] if options.size else [])}),
        "weights": list(dict.fromkeys([options.weights, defaults.WEIGHTS, *weights_names()])),
        "gc_every": sorted({defaults.GC_EVERY, *([options.gc_every] if options.gc_every else [])}),
        "outputs": list(SAVABLE),
    }


def command_of(session: Session) -> str | None:
    """Return the command line that makes the same results; None as long as nothing is painted."""
    if not session.painted.places:
        return None
    folder = session.folder
    words = ["vostool", "segment", str(session.video), "--mask", str(folder / FOLDER)]
    words += ["-o", str(folder), "--resume", *["--backward"] * session.backward]
    words += option_words(session.options)
    return shlex.join(words)


def option_words(options: ModelOptions) -> list[str]:
    """Return model options as they are typed, those that are not as usual."""
    usual, words = ModelOptions(), list[str]()
    for name, value in options:
        if value is True:
            words.append(option_name(name))
        elif value != getattr(usual, name):
            words += [option_name(name), str(value)]
    return words
