"""The version, and what the package contains."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vostool
from vostool import RELEASE, with_commit

ROOT = Path(vostool.__file__).parent.parent
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.mark.parametrize(
    ("described", "version"),
    [
        (f"v{RELEASE}", RELEASE),
        (f"v{RELEASE}-dirty", f"{RELEASE}+dirty"),
        (f"v{RELEASE}-3-gabcdef0123", f"{RELEASE}+gabcdef0123"),
        (f"v{RELEASE}-3-gabcdef0123-dirty", f"{RELEASE}+gabcdef0123.dirty"),
        ("abcdef0123", f"{RELEASE}+gabcdef0123"),
        ("abcdef0123-dirty", f"{RELEASE}+gabcdef0123.dirty"),
    ],
)
def test_the_version_names_the_commit_unless_it_is_the_release(
    described: str, version: str
) -> None:
    assert with_commit(described) == version


def version_in(folder: Path) -> str:
    """Return the version of the package in a folder, as a process of its own finds it."""
    code = "import vostool; print(vostool.__version__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True,
        env={"PATH": os_path(), "PYTHONPATH": str(folder)},
    )  # fmt: skip
    return done.stdout.strip()


def os_path() -> str:
    return str(Path(shutil.which("git") or "/usr/bin/git").parent)


def copy_package(folder: Path) -> Path:
    (folder / "vostool").mkdir(parents=True)
    shutil.copy(vostool.__file__, folder / "vostool" / "__init__.py")
    return folder


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_without_git_the_version_is_that_of_the_release(tmp_path: Path) -> None:
    assert version_in(copy_package(tmp_path)) == RELEASE


def test_an_installed_package_has_the_version_that_it_was_built_with(tmp_path: Path) -> None:
    copy_package(tmp_path)
    info = tmp_path / "vostool-0.1.0+gabcdef0123.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: vostool\nVersion: 9.8+gabc\n")
    assert version_in(tmp_path) == "9.8+gabc"


@needs_git
def test_in_a_checkout_the_version_moves_with_every_commit_and_change(tmp_path: Path) -> None:
    folder = copy_package(tmp_path)
    git(folder, "init", "-q")
    assert version_in(folder) == RELEASE  # there is no commit yet
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    first = git(folder, "rev-parse", "--short=10", "HEAD")
    assert version_in(folder) == f"{RELEASE}+g{first}"
    git(folder, "tag", f"v{RELEASE}")
    assert version_in(folder) == RELEASE
    with (folder / "vostool" / "__init__.py").open("a") as file:
        file.write("\n")
    assert version_in(folder) == f"{RELEASE}+dirty"
    git(folder, "commit", "-q", "-a", "-m", "two")
    second = git(folder, "rev-parse", "--short=10", "HEAD")
    assert version_in(folder) == f"{RELEASE}+g{second}"
    assert re.fullmatch(r"[0-9.]+(\+[a-z0-9]+(\.[a-z0-9]+)*)?", version_in(folder))


def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="needs the sources")
def test_the_wheel_contains_the_named_weights_and_their_card_but_not_how_they_were_made() -> None:
    build = project()["tool"]["hatch"]["build"]["targets"]["wheel"]  # type: ignore[index]
    table = tomllib.loads((ROOT / "weights" / "weights.toml").read_text(encoding="utf-8"))
    files = {entry["file"] for entry in table.values() if isinstance(entry, dict)}
    expected = files | {"weights.toml", "README.md"}
    assert build["packages"] == ["vostool"]
    assert build["force-include"] == {
        f"weights/{name}": f"vostool/_weights/{name}" for name in expected
    }
    assert all((ROOT / "weights" / name).is_file() for name in expected)
