"""The files around the package: .env.example, .gitattributes and the wheel."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from groundwork.core.config import Settings, settings_or_exit
from groundwork.core.database.migration_files import migration_ids
from tests.databases import bare_environment
from tests.servers import serve

CHECKOUT = Path(__file__).parents[1]
EXAMPLE = (CHECKOUT / ".env.example").read_text()


def test_the_example_lists_every_setting_once() -> None:
    """.env.example has each setting once, in the order of the code."""
    listed = re.findall(r"^# ([A-Z_]+)=", EXAMPLE, re.MULTILINE)

    assert listed == [item.name.upper() for item in dataclasses.fields(Settings)]


def test_the_example_shows_the_defaults() -> None:
    """With every line of .env.example uncommented, the settings have their defaults."""
    Path(".env").write_text(re.sub(r"^# ([A-Z_]+=)", r"\1", EXAMPLE, flags=re.MULTILINE))

    settings = settings_or_exit()

    assert settings == Settings(database_url=settings.database_url)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_windows_changes_no_line_endings(tmp_path: Path) -> None:
    """Git for Windows would check scripts out with CRLF, with which no shell runs them."""
    (tmp_path / "script").write_bytes(b"#!/bin/sh\n")
    shutil.copy(CHECKOUT / ".gitattributes", tmp_path)
    script = """
        git config --global core.autocrlf true
        git init --quiet && git add script && rm script && git checkout --quiet script
    """

    # A hook of git that runs the tests has set GIT_DIR.
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    subprocess.run(["sh", "-euc", script], cwd=tmp_path, env=environment, check=True)

    assert (tmp_path / "script").read_bytes() == b"#!/bin/sh\n"


def test_the_wheel_works_in_an_empty_folder(tmp_path: Path, empty_database: str) -> None:
    """Installed from its wheel, without a checkout, the service migrates and becomes ready."""
    uv = os.environ.get("UV", "uv")
    build = [uv, "build", "--wheel", "--quiet", "--python", sys.executable]
    subprocess.run([*build, "--out-dir", tmp_path, CHECKOUT], check=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, site], check=True)
    environment = {"DATABASE_URL": empty_database, "PYTHONPATH": str(site)}
    command = [sys.executable, "-P", "-m", "groundwork"]

    migrated = subprocess.run(
        [*command, "migrate"],
        env=bare_environment() | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    with serve([*command, "serve"], **environment) as server:
        ready, docs = server.get("/health/ready"), server.get("/docs")

    assert [name for name in migration_ids() if f"applied {name}" not in migrated.stdout] == []
    assert (ready.status_code, docs.status_code) == (200, 200)
