"""vostool cuts objects out of videos: a first-frame mask in, masks and overlays out.

    import vostool

    tracker = vostool.Tracker(size=480)
    labels = tracker.step(rgb, mask)
    for frame, labels in vostool.follow("party.mp4", {0: "first.png"}):
        ...

What it offers is imported when it is first used, so that `import vostool` is quick.
"""

from importlib import import_module

__version__ = "0.1.0"

TYPE_CHECKING = False  # as type checkers take it for true; the module `typing` takes its time
if TYPE_CHECKING:
    from vostool.errors import VostoolError
    from vostool.inference.api import follow
    from vostool.inference.predictor import Predictor
    from vostool.inference.tracker import Tracker
    from vostool.propagation.frame_loop import Track

__all__ = ["Predictor", "Track", "Tracker", "VostoolError", "follow"]

_HOMES = {
    "Predictor": "vostool.inference.predictor",
    "Track": "vostool.propagation.frame_loop",
    "Tracker": "vostool.inference.tracker",
    "VostoolError": "vostool.errors",
    "follow": "vostool.inference.api",
}


def __getattr__(name: str) -> object:
    """Return something that vostool offers, imported by now."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the names that vostool offers."""
    return [*globals(), *__all__]
