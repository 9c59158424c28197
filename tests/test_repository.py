"""The files around the package match it: .env.example and the wheel."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

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
