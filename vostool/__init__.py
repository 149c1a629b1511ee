"""vostool cuts objects out of videos: a first-frame mask in, masks and overlays out.

    import vostool

    tracker = vostool.Tracker(size=480)
    labels = tracker.step(rgb, mask)
    for frame, labels in vostool.follow("party.mp4", {0: "first.png"}):
        ...

What it offers is imported when it is first used, so that `import vostool` is quick.

`__version__` is that of the release, and between releases that of the commit too, such as
0.2.0+g8671726f5a or, with uncommitted changes, 0.2.0+g8671726f5a.dirty: two states of the code
have two versions. It is found when it is asked for.
"""

TYPE_CHECKING = False  # as type checkers take it for true; the module `typing` takes its time
if TYPE_CHECKING:
    from pathlib import Path

    from vostool.errors import VostoolError
    from vostool.inference.api import follow
    from vostool.inference.predictor import Predictor
    from vostool.inference.tracker import Tracker
    from vostool.propagation.frame_loop import Track

__all__ = ["Predictor", "Track", "Tracker", "VostoolError", "follow"]
__version__: str
RELEASE = "0.2.0"  # the latest one; a commit tagged v0.2.0 is that release

_HOMES = {
    "Predictor": "vostool.inference.predictor",
    "Track": "vostool.propagation.frame_loop",
    "Tracker": "vostool.inference.tracker",
    "VostoolError": "vostool.errors",
    "follow": "vostool.inference.api",
}


def __getattr__(name: str) -> object:
    """Return something that vostool offers, imported or found by now."""
    if name == "__version__":
        globals()[name] = version = find_version()
        return version
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the names that vostool offers."""
    return [*globals(), *__all__, "__version__"]


def find_version() -> str:
    """Return the version: of a checkout from git, else as it is installed, else the release."""
    from importlib.metadata import distributions
    from pathlib import Path

    root = Path(__file__).parent.parent
    if (root / ".git").exists():
        return with_commit(describe(root))
    for found in distributions(name="vostool", path=[str(root)]):  # in the same site-packages
        return found.version
    return RELEASE


def with_commit(described: str) -> str:
    """Return the version of what git describes: v0.2.0, v0.2.0-3-gCOMMIT or COMMIT, or -dirty."""
    commit, dirty, _ = described.partition("-dirty")
    commit = commit.removeprefix(f"v{RELEASE}").rpartition("-")[2].removeprefix("g")
    local = ".".join(part for part in (f"g{commit}" if commit else "", dirty[1:]) if part)
    return f"{RELEASE}+{local}" if local else RELEASE


def describe(root: "Path") -> str:
    """Return the commit of a checkout as `git describe` names it, without git the release's tag."""
    import os
    import subprocess

    tag = f"v{RELEASE}"
    options = ["--always", "--dirty", "--tags", "--abbrev=10", "--match", tag]
    # not the repository of a git hook that this runs in, and without a lock
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "describe", *options],
            capture_output=True,
            text=True,
            check=True,
            env={**inherited, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.CalledProcessError):
        return tag
    return done.stdout.strip()
