"""Fixtures: a copy of the SQL files."""

import shutil
from pathlib import Path

import pytest

from groundwork.core.database.connections import SQL_DIR
from tests.databases import CHECKOUT


# The package looks for sql/ beside itself, wherever it was imported from.
@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a folder with copies of sql/ and yoyo.ini to change, and a link to the package."""
    folder = tmp_path / "copy"
    shutil.copytree(SQL_DIR, folder / "sql")
    (folder / "groundwork").symlink_to(CHECKOUT / "groundwork")
    shutil.copy(CHECKOUT / "yoyo.ini", folder)
    return folder
