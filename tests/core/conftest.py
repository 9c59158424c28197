"""Fixtures: a copy of what a release ships."""

import shutil
from pathlib import Path

import pytest

from groundwork.core.database import SQL_DIR
from tests.databases import CHECKOUT


# The package finds its sql/ beside itself, so a copy of the package may have other migrations.
@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Give a copy of the package, of sql/ and of yoyo.ini, for a test to change."""
    folder = tmp_path / "copy"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(CHECKOUT / "groundwork", folder / "groundwork", ignore=ignore)
    shutil.copytree(SQL_DIR, folder / "sql")
    shutil.copy(CHECKOUT / "yoyo.ini", folder)
    return folder
