"""Imports point one way, from the command line down to the errors; no floor looks up."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import vostool

ROOT = Path(vostool.__file__).parent


def sources(*folders: str) -> list[Path]:
    """Return the modules in some folders of the package, or all."""
    return sorted(path for folder in folders or (".",) for path in (ROOT / folder).rglob("*.py"))


def nodes(path: Path) -> list[ast.AST]:
    """Return all nodes of a module's syntax tree."""
    return list(ast.walk(ast.parse(path.read_text())))


@cache
def imports(path: Path) -> set[str]:
    """Return all that a module imports, wherever it does, as dotted names."""
    found: set[str] = set()
    for node in nodes(path):
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


# who may import whom: a room's modules may use those of the rooms on the floors below
FLOORS = (
    ("allocator", "errors", "defaults", "progress", "threads"),
    ("files", "device"),
    ("media", "model", "preprocess", "scale"),
    ("datasets", "propagation"),
    ("inference",),
    ("first_mask",),
    ("segment", "evaluate", "analysis"),
    ("benchmark", "train", "studio"),
    ("cli",),
    ("__main__",),
)


def room_of(path: Path) -> str:
    """Return the folder of the package that a module lies in, or its own name at the top."""
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(path) for path in sources() if path != ROOT / "__init__.py"}
    assert rooms == {room for floor in FLOORS for room in floor}


@pytest.mark.parametrize("floor", range(len(FLOORS)), ids=[" ".join(floor) for floor in FLOORS])
def test_a_room_imports_only_from_the_floors_below(floor: int) -> None:
    below = {room for rooms in FLOORS[:floor] for room in rooms}
    for room in FLOORS[floor]:
        for path in sources():
            if room_of(path) == room:
                ours = {name.split(".")[1] for name in imports(path) if name.startswith("vostool.")}
                assert ours - {"__version__"} <= below | {room}, path


def test_what_is_needed_before_a_network_runs_does_not_import_torch() -> None:
    modules = (
        "vostool.progress",
        "vostool.files.documents",
        "vostool.inference.options",
        "vostool.inference.reports",
        "vostool.evaluate.results",
        "vostool.model.memory_designs",
        "vostool.scale.local",
        "vostool.scale.scheduler",
        "vostool.studio.launch",
    )
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules: sys.exit(name)"
    )
    command = [sys.executable, "-c", code, *modules]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_line_is_declared_without_pydantic() -> None:
    code = "import sys, vostool.cli; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_media_knows_neither_torch_nor_the_network() -> None:
    allowed = ("vostool.media", "vostool.errors", "vostool.files", "vostool.threads")
    assert offenders(sources("media"), "torch", "torchvision", "vostool.model") == []
    for path in sources("media"):
        ours = [name for name in imports(path) if name.startswith("vostool")]
        assert all(name.startswith(allowed) for name in ours)


def test_the_network_knows_no_pictures_files_or_commands() -> None:
    assert offenders(sources("model"), "av", "PIL", "numpy", "typer", "vostool.media") == []
    for path in sources("model"):
        allowed: tuple[str, ...] = ("vostool.model", "vostool.errors")
        if path.name == "checkpoint.py":  # which takes the network to a file and back
            allowed = (*allowed, "vostool.files")
        if path.name == "reading.py":  # which tells running out of memory from damage
            allowed = (*allowed, "vostool.device")
        ours = [name for name in imports(path) if name.startswith("vostool")]
        assert all(name.startswith(allowed) for name in ours), path


def test_every_file_that_is_written_whole_is_written_by_one_function() -> None:
    """A part file takes its final name in `atomic_write`; a claim is taken over, not written."""
    renaming = {
        path.relative_to(ROOT).as_posix()
        for path in sources()
        for node in nodes(path)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("part.replace", "os.replace")
    }
    assert renaming == {"files/__init__.py", "files/claims.py"}


def test_few_modules_lie_outside_of_a_folder() -> None:
    assert len(list(ROOT.glob("*.py"))) < 10


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_and_its_functions_can_be_read_at_a_sitting(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 420
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef) and room_of(path) != "cli":
            assert (node.end_lineno or 0) - node.lineno < 80, node.name


@pytest.mark.parametrize(
    "name",
    [
        "propagation/losses.py",
        "evaluate/metrics.py",
        "errors.py",
        "defaults.py",
        "progress.py",
        "inference/prefetch.py",
    ],
)
def test_the_pure_modules_import_nothing_of_ours(name: str) -> None:
    assert offenders([ROOT / name], "vostool") == []


def test_the_loop_and_the_cycle_know_of_a_model_only_what_it_owes_them() -> None:
    paths = sources("propagation")
    allowed = {"interface", "aggregate"}
    for path in paths:
        models = {name.split(".")[2] for name in imports(path) if name.startswith("vostool.model.")}
        assert models <= allowed
    assert offenders(paths, "vostool.media", "vostool.datasets") == []


def test_only_media_uses_pyav() -> None:
    rest = [path for path in sources() if path.parent.name != "media"]
    assert offenders(rest, "av") == []


def test_only_the_command_line_and_the_progress_bar_print_or_exit() -> None:
    talkers = [
        path.relative_to(ROOT).parts[0]
        for path in sources()
        for node in nodes(path)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.exit", "exit")
    ]
    assert set(talkers) == {"cli", "progress.py"}


def test_the_types_of_features_and_memory_are_for_the_contract_and_the_propagation() -> None:
    users = offenders(sources(), "vostool.model.interface.Features")
    users += offenders(sources(), "vostool.model.interface.Memory")
    assert users
    assert all(user.startswith("propagation/") for user in users)
