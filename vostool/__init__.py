"""vostool cuts objects out of videos: a first-frame mask in, masks and overlays out.

`__version__` is that of the release, and between releases that of the commit too, such as
0.1.0+g8671726f5a or, with uncommitted changes, 0.1.0+g8671726f5a.dirty: two states of the code
have two versions. It is found when it is asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__version__: str
RELEASE = "0.1.0"  # the latest one; a commit tagged v0.1.0 is that release


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = version = find_version()
    return version


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
    """Return the version of what git describes: v0.1.0, v0.1.0-3-gCOMMIT or COMMIT, or -dirty."""
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
