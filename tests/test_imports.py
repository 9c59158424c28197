"""Imports point one way: commands -> main -> features -> core, and within core along CORE."""

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import groundwork

PACKAGE = Path(groundwork.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
COMMANDS = ("__main__", "dev", "serve", "probe", "psql", "embedded", "protocol")
# Each imports only from itself and from what stands before it.
CORE = (
    "environment",
    "libpq_files",
    "database_url",
    "setting_kinds",
    "config",
    "structs",
    "tasks",
    "lifecycle",
    "observability",
    "database",
    "readiness",
    "state",
    "http",
)
FEATURES = {
    entry.parent.name for entry in PACKAGE.glob("*/__init__.py") if entry.parent.name != "core"
}


def allowed(module: str) -> set[str]:
    """Return the rooms that a module, named from the package on, may import from."""
    rooms = module.split(".")
    if rooms[0] == "core":
        own = len(rooms) > 1 and rooms[1]
        return {f"core.{room}" for room in CORE[: CORE.index(own) + 1]} if own else set()
    core = {f"core.{room}" for room in CORE}
    if rooms[0] in FEATURES:
        return core | {rooms[0]}
    if rooms[0] == "main":
        return core | FEATURES
    return core | FEATURES | {*COMMANDS, "main"} if rooms[0] in COMMANDS else set()


def imported(source: str) -> Iterator[str]:
    """Yield the modules of ours that a source imports, named from the package on."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("groundwork.") and name != "groundwork.__version__":
                yield name.removeprefix("groundwork.")


def violations(module: str, source: str) -> list[str]:
    """Return the imports that a module must not have."""
    rooms = allowed(module)
    return [
        name
        for name in imported(source)
        if not any(f"{name}.".startswith(f"{room}.") for room in rooms)
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    """A module imports from its own room and from the rooms before it."""
    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__")

    assert violations(module.rstrip("."), path.read_text()) == []


def test_every_room_of_core_has_a_place_in_the_order() -> None:
    """The order names each module and folder of core/, and nothing else."""
    rooms = {entry.stem for entry in (PACKAGE / "core").iterdir() if entry.suffix in {"", ".py"}}

    assert rooms - {"__init__", "__pycache__"} == set(CORE)


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if path.relative_to(PACKAGE).parts[0] in FEATURES],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_features_do_not_read_the_environment(path: Path) -> None:
    """A setting is a field of Settings, which is checked at startup and may come from a file."""
    assert re.findall(r"\b(?:environ|getenv)\b", path.read_text()) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        *(
            (f"core.{low}.x", f"import groundwork.core.{high}.y")
            for low, high in itertools.pairwise(CORE)
        ),
        ("core.http.x", "from groundwork.health.services import get_details"),
        ("core.http.x", "from groundwork import main"),
        ("health.routes", "from groundwork.openapi import routes"),
        ("health.routes", "from groundwork.main import create_app"),
        ("main", "from groundwork.serve import serve"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str) -> None:
    """An import against the order is reported: up within core, out of it, sideways."""
    assert violations(module, source) != []
