"""A plugin that runs the tests in several processes: they wait more than they compute."""

import gc
import os
from collections.abc import Generator
from pathlib import Path

import pytest

from tests import guardian

WORKERS = 4


@pytest.hookimpl(wrapper=True)  # runs first: pytest-cov reads the option too
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None]:
    """Use pytest-xdist, unless a file is named: its startup takes a second."""
    guardian.watch()
    options = early_config.known_args_namespace
    alone = options.usepdb or options.capture == "no" or options.collectonly
    inside = "PYTEST_XDIST_WORKER" in os.environ
    named = [name for name in options.file_or_dir if not Path(name).is_dir()]
    if getattr(options, "numprocesses", 0) is None and not (alone or inside or named):
        args += ["--numprocesses", str(WORKERS), "--dist", "worksteal"]
        early_config.known_args_namespace = parser.parse_known_args(args)
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of whole programs, beside this file, first: they wait while others compute."""
    items.sort(key=lambda item: item.path.parent != Path(__file__).parent)


def pytest_collection_finish() -> None:
    """Exclude the objects created during collection from garbage collection."""
    gc.freeze()
