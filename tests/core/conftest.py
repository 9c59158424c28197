"""Fixtures: a copy of what a release ships."""

import shutil
from pathlib import Path

import pytest

from groundwork.core.database.connections import SQL_DIR
from tests.databases import CHECKOUT


# The package finds its sql/ beside itself, wherever it was imported from.
@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Give a copy of sql/ and of yoyo.ini for a test to change, with the package beside it."""
    folder = tmp_path / "copy"
    shutil.copytree(SQL_DIR, folder / "sql")
    (folder / "groundwork").symlink_to(CHECKOUT / "groundwork")
    shutil.copy(CHECKOUT / "yoyo.ini", folder)
    return folder
