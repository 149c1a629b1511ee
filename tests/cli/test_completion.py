"""Shell completion, as a shell asks for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def complete(line: str) -> list[str]:
    """Return what bash would offer at the end of a line."""
    words = line.split(" ")
    environment = {
        "_VOSTOOL_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "vostool"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environment,
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("vostool seg", ["segment"]),
        ("vostool eval dav", ["davis16", "davis17"]),
        ("vostool segment --gc-it", ["--gc-iters"]),
        ("vostool segment --precision b", ["bf16"]),
        ("vostool erf --device cu", ["cuda"]),
        ("vostool bench --reference first", ["first", "first+previous"]),
    ],
)
def test_commands_options_and_values_are_completed(line: str, offered: list[str]) -> None:
    assert complete(line) == offered


def test_completion_imports_nothing_heavy() -> None:
    script = (
        "import sys, contextlib\n"
        "from vostool.cli import main\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "heavy = {'torch', 'numpy', 'av', 'PIL', 'matplotlib'} & set(sys.modules)\n"
        "print(*sorted(heavy), file=sys.stderr)"
    )
    environment = {
        "_VOSTOOL_COMPLETE": "complete_bash", "COMP_WORDS": "vostool se", "COMP_CWORD": "1"
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert done.stdout.split() == ["segment"]
    assert done.stderr.strip() == ""


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_completion_is_installed_for_the_shell_that_asks(tmp_path: Path) -> None:
    program = f"{sys.executable} -m vostool --install-completion; exit $?"
    done = subprocess.run(
        ["bash", "--norc", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"HOME": str(tmp_path), "SHELL": "/bin/bash"},
    )
    assert done.returncode == 0, done.stderr
    (script,) = (tmp_path / ".bash_completions").iterdir()
    assert script.name == "vostool.sh"
    assert "_VOSTOOL_COMPLETE=complete_bash" in script.read_text()
    assert str(script) in (tmp_path / ".bashrc").read_text()
