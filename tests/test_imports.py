"""One direction: main imports features, features import core, core imports neither."""

import ast
from pathlib import Path

import pytest

import groundwork

PACKAGE = Path(groundwork.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
COMMANDS = {"__main__", "dev", "serve", "probe"}


def room(module: str) -> str:
    """Return the room a module is in: core, main, a command, or a feature."""
    return module.split(".")[1] if "." in module else ""


def imported_rooms(path: Path) -> set[str]:
    """Return the rooms of ours that a module imports from."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {room(name) for name in names if name.startswith("groundwork.")}
    return found - {"__version__"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    """A module imports from its own room and from the rooms below it."""
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    features = {entry.name for entry in PACKAGE.iterdir() if entry.is_dir()} - {"core", "sql"}
    allowed = {own, "core"}
    if own == "main":
        allowed |= features
    elif own in COMMANDS:
        allowed |= COMMANDS | {"main"}

    assert imported_rooms(path) - {"__pycache__"} <= allowed
