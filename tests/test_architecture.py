"""Imports point one way: cli, commands, loop and data, model or media, errors."""

import ast
from pathlib import Path

import pytest

import vostool

ROOT = Path(vostool.__file__).parent


def sources(*folders: str) -> list[Path]:
    """Return the modules in some folders of the package, or all."""
    return sorted(path for folder in folders or (".",) for path in (ROOT / folder).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Return all that a module imports, wherever it does, as dotted names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def offenders(paths: list[Path], *forbidden: str) -> list[str]:
    """Return who imports what it should not, or something inside of it."""
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in sorted(imports(path))
        if any(f"{name}.".startswith(f"{bad}.") for bad in forbidden)
    ]


def test_media_knows_neither_torch_nor_the_network() -> None:
    allowed = ("vostool.media", "vostool.errors", "vostool.files")
    assert offenders(sources("media"), "torch", "torchvision", "vostool.model") == []
    for path in sources("media"):
        ours = [name for name in imports(path) if name.startswith("vostool")]
        assert all(name.startswith(allowed) for name in ours)


def test_the_network_knows_no_pictures_files_or_commands() -> None:
    assert offenders(sources("model"), "av", "PIL", "numpy", "typer", "vostool.media") == []
    for path in sources("model"):
        ours = [name for name in imports(path) if name.startswith("vostool")]
        assert all(name.startswith(("vostool.model", "vostool.errors")) for name in ours)


def test_nobody_but_main_imports_the_command_line() -> None:
    cli = sources("cli")
    rest = [path for path in sources() if path.name != "__main__.py" and path not in cli]
    assert offenders(rest, "vostool.cli") == []


@pytest.mark.parametrize("name", ["losses.py", "metrics.py", "errors.py", "ahead.py"])
def test_the_pure_modules_import_nothing_of_ours(name: str) -> None:
    assert offenders([ROOT / name], "vostool") == []


def test_the_loop_and_the_cycle_know_of_a_model_only_what_it_owes_them() -> None:
    paths = [ROOT / "propagate.py", ROOT / "cycle.py"]
    allowed = {"interface", "aggregate"}
    for path in paths:
        models = {name.split(".")[2] for name in imports(path) if name.startswith("vostool.model.")}
        assert models <= allowed
    assert offenders(paths, "vostool.media", "vostool.data") == []


def test_commands_are_not_imported_by_what_they_are_made_of() -> None:
    tops = ("segment", "batch", "train", "demo", "erf", "spectrum", "bench")
    commands = [f"vostool.{name}" for name in (*tops, "progress")]
    parts = [path for path in sources() if path.stem not in tops and path not in sources("cli")]
    assert offenders(parts, *commands) == []


def test_only_media_uses_pyav() -> None:
    rest = [path for path in sources() if path.parent.name != "media"]
    assert offenders(rest, "av") == []


def test_only_the_command_line_and_the_progress_bar_print_or_exit() -> None:
    talkers = [
        path.relative_to(ROOT).parts[0]
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.exit", "exit")
    ]
    assert set(talkers) == {"cli", "progress.py"}
