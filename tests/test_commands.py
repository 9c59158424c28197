"""The commands, run as users run them."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg2
import pytest

from groundwork import __version__
from groundwork.__main__ import main
from tests.databases import CHECKOUT, bare_environment, groundwork, run
from tests.servers import (
    SERVE,
    UVICORN,
    Server,
    descendants,
    free_port,
    is_running,
    serve,
    wait_until,
)

DEV = (sys.executable, "-m", "groundwork", "dev")


@contextmanager
def dev(folder: Path, **environment: str) -> Iterator[Server]:
    """Run `groundwork dev` in a folder; wait until it is ready, and stop it afterwards."""
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            DEV,
            cwd=folder,
            env=bare_environment() | {"PORT": str(port)} | environment,
            stdout=log,
            stderr=log,
        )
        server = Server(port, process, folder / "log")
        try:
            wait_until(lambda: is_ready(server), server)
            yield server
        finally:
            if process.poll() is None:
                server.stop()


def is_ready(server: Server) -> bool:
    """Return whether the service is ready."""
    try:
        return server.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def postmaster(folder: Path) -> int:
    """Return the PID of the PostgreSQL that `groundwork dev` runs in a folder."""
    return int((folder / ".groundwork/postgres/postmaster.pid").read_text().split()[0])


def edit(checkout: Path, server: Server) -> None:
    """Edit a file, and wait until the change is served."""
    init = checkout / "groundwork/__init__.py"
    init.write_text(init.read_text().replace(__version__, "9.9.9"))
    wait_until(lambda: reported(server, "/health/details").get("version") == "9.9.9")


def reported(server: Server, path: str) -> dict[str, object]:
    """Return the JSON body of a path, or nothing during a reload."""
    try:
        return dict(server.get(path).json())
    except httpx.TransportError:
        return {}


def test_without_a_command_the_help_is_printed() -> None:
    """`groundwork` without a command lists the commands."""
    done = groundwork()

    assert done.returncode == 0
    assert [name for name in ("dev", "serve", "migrate", "probe") if name not in done.stdout] == []


def test_the_version_is_printed() -> None:
    """`groundwork --version` prints the package's version."""
    assert groundwork("--version").stdout.strip() == __version__


def test_serve_without_settings_exits_with_2(capfd: pytest.CaptureFixture[str]) -> None:
    """Without settings, the command exits with 2 and names the missing one."""
    with pytest.raises(SystemExit, match="2"):
        main(["serve"])

    assert "DATABASE_URL: Environment variable not set." in capfd.readouterr().err


@pytest.mark.parametrize(
    ("command", "code"),
    [(SERVE, 0), (UVICORN, -signal.SIGTERM)],
    ids=["groundwork serve", "uvicorn"],
)
def test_shutdown_is_clean(database_url: str, command: tuple[str, ...], code: int) -> None:
    """SIGTERM ends the service with its exit code; its lines are JSON, and the last are written."""
    with serve(command, DATABASE_URL=database_url) as server:
        response = server.get("/health/details")
        assert server.stop() == code
        lines = [json.loads(line) for line in server.lines()]

    assert response.status_code == 200
    assert {"uvicorn.error", "groundwork.access"} <= {line["logger"] for line in lines}
    assert not [line for line in lines if "\x1b" in line["message"]]
    assert "Waiting for application shutdown." in {line["message"] for line in lines}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux has /proc")
def test_libpq_takes_no_memory_in_the_service(server: Server) -> None:
    """It has read the address in a process of its own."""
    assert server.get("/health/ready").status_code == 200

    files = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "asyncpg" in files
    assert "libpq" not in files


def test_responses_do_not_name_the_server(server: Server) -> None:
    """Responses have no Server header."""
    assert "server" not in server.get("/health/live").headers


@pytest.mark.faults
def test_serve_recovers_when_the_database_appears(server_url: str, empty_database: str) -> None:
    """Started without its database, the service is ready soon after the database exists."""
    name = f"{empty_database.partition('?')[0].rpartition('/')[2]}"
    renamed = empty_database.replace(name, f"{name}_later")
    with serve(DATABASE_URL=renamed) as server:
        assert server.get("/health/ready").status_code == 503
        with psycopg2.connect(server_url) as connection:
            connection.autocommit = True
            connection.cursor().execute(f"ALTER DATABASE {name} RENAME TO {name}_later")
        groundwork("migrate", DATABASE_URL=renamed).check_returncode()
        assert wait_until(lambda: is_ready(server)) < 5
        assert server.process.poll() is None
        connection.cursor().execute(f"DROP DATABASE {name}_later WITH (FORCE)")
        connection.close()


def test_probe_distinguishes_live_and_ready(server: Server) -> None:
    """`groundwork probe` exits with 0 or 1, depending on the response of the instance."""
    up = groundwork("probe", PORT=str(server.port), HOST="0.0.0.0")  # noqa: S104 - as set
    with serve(DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing") as unready:
        live = groundwork("probe", "live", PORT=str(unready.port))
        ready = groundwork("probe", "ready", PORT=str(unready.port))
    unreachable = groundwork("probe", "live", PORT=str(free_port()))

    assert (up.returncode, live.returncode, ready.returncode, unreachable.returncode) == (
        0,
        0,
        1,
        1,
    )
    assert "database_unreachable" in ready.stdout
    assert "refused" in unreachable.stdout


def test_probe_rejects_other_names(capsys: pytest.CaptureFixture[str]) -> None:
    """A name other than live and ready exits with 2 and a message."""
    with pytest.raises(SystemExit, match="2"):
        main(["probe", "details"])

    assert "invalid choice: 'details'" in capsys.readouterr().err


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with a copy of the package and of sql/."""
    for name in ("groundwork", "sql"):
        shutil.copytree(CHECKOUT / name, tmp_path / name)
    return tmp_path


@pytest.mark.faults
@pytest.mark.usefixtures("hangups")
def test_dev_leaves_only_its_data(tmp_path: Path) -> None:
    """SIGINT, SIGTERM and SIGHUP stop `groundwork dev` and its database; the data is kept."""
    found = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with dev(tmp_path) as server:
            processes = {postmaster(tmp_path), *descendants(server.process.pid)}
            address = (tmp_path / ".groundwork/database_url").read_text()
            found += run(address, "SELECT id FROM installation")
            server.stop(number)

        assert len(processes) >= 3
        # multiprocessing's resource tracker exits by itself a moment later.
        wait_until(lambda running=processes: not any(is_running(pid) for pid in running))

    assert found == found[:1] * 3
    assert not (tmp_path / ".groundwork/database_url").exists()


@pytest.mark.faults
def test_dev_recovers_from_a_kill(tmp_path: Path) -> None:
    """After kill -9 the service ends by itself, and the next run stops what is left and starts."""
    with dev(tmp_path) as server:
        before = postmaster(tmp_path)
        service = descendants(server.process.pid) - descendants(before)
        server.stop(signal.SIGKILL)
    wait_until(lambda: not any(is_running(pid) for pid in service))

    with dev(tmp_path):
        assert not is_running(before)


@pytest.mark.faults
def test_dev_keeps_its_database_during_a_reload(checkout: Path) -> None:
    """A reload restarts only the service, and logs no warning."""
    with dev(checkout) as server:
        before = postmaster(checkout)
        edit(checkout, server)
        assert postmaster(checkout) == before
        lines = server.lines()

    assert [line for line in lines if re.search("WARN|ERROR|Traceback", line)] == []
    assert [line for line in lines if line.startswith("reload ")] != []


@pytest.mark.faults
def test_dev_with_a_changed_migration(checkout: Path) -> None:
    """The message has both ways out; database and service keep running so that they work."""
    shutil.copy(CHECKOUT / "yoyo.ini", checkout)
    with dev(checkout):
        pass
    migration = checkout / "sql/migrations/0002.create-installation.sql"
    migration.write_text("-- edited\n" + migration.read_text())
    with dev(checkout) as server:
        assert "yoyo rollback --revision" in server.log.read_text()
        undone = command(checkout, "-m", "yoyo", "rollback", "--revision", migration.stem)
        migrated = command(checkout, "-m", "groundwork", "migrate")
        wait_until(lambda: is_ready(server))

    assert (undone.returncode, migrated.returncode) == (0, 0)
    assert f"applied {migration.stem}" in migrated.stdout


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a checkout, as in another terminal."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=bare_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_dev_uses_database_url(checkout: Path, empty_database: str) -> None:
    """With DATABASE_URL, it migrates that database; an edited migration is not applied."""
    with dev(checkout, DATABASE_URL=empty_database, LOG_JSON="true") as server:
        report = server.get("/health/details").json()
        wait_until(lambda: '"path":"/health/details"' in server.lines()[-1])
        edit(checkout, server)
        (checkout / "sql/migrations/9999.half-written.sql").write_text("CREATE TABLE")
        pending = ["9999.half-written"]
        wait_until(lambda: reported(server, "/health/ready").get("pending") == pending)

    assert report["status"] == "ok"
    assert not (checkout / ".groundwork").exists()


def test_dev_serves_with_a_setting_that_is_new(checkout: Path, empty_database: str) -> None:
    """After a reload, each setting has its own value, even if Settings has one more."""
    module = checkout / "groundwork/core/config.py"
    with dev(checkout, DATABASE_URL=empty_database, ENVIRONMENT="development") as server:
        module.write_text(
            module.read_text().replace("    app_", "    id: kinds.Text = ''\n    app_", 1)
        )
        edit(checkout, server)
        report = server.get("/health/details").json()

    assert report["environment"] == "development"


@pytest.mark.parametrize("output", [">&-", ">/dev/full", ">&- 2>&- <&-"])
@pytest.mark.parametrize("command", ["migrate --check", "probe live", "psql -c ''"])
def test_an_output_that_is_closed_or_full_changes_nothing(
    server: Server, database_url: str, command: str, output: str
) -> None:
    """The exit code is the same, and there is no traceback."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m groundwork {command} {output}', sys.executable],
        env=bare_environment() | {"DATABASE_URL": database_url, "PORT": str(server.port)},
        cwd=CHECKOUT,
        stderr=subprocess.PIPE,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("output", ["2>&-", "2>/dev/full"])
def test_invalid_settings_are_exit_code_2_whatever_takes_the_message(output: str) -> None:
    """A closed or full stderr does not change the exit code."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m groundwork migrate {output}', sys.executable],
        env=bare_environment() | {"DATABASE_URL": "", "ENVIRONMENT": "production"},
        check=False,
    )

    assert done.returncode == 2


@pytest.mark.parametrize(("output", "found"), [(">&-", "/dev/null"), (">/dev/full", "/dev/full")])
def test_it_serves_without_an_output(database_url: str, output: str, found: str) -> None:
    """Where stdout is closed, no socket takes its number; where it is full, lines are dropped."""
    command = ("sh", "-c", f'exec "$@" {output}', "sh", *SERVE)
    with serve(command, DATABASE_URL=database_url) as server:
        wait_until(lambda: is_ready(server))
        stdout = Path(f"/proc/{server.process.pid}/fd/1").readlink()
        assert (server.stop(), str(stdout)) == (0, found)


@pytest.mark.parametrize("path", [os.environ["PATH"], "/nowhere"], ids=["any", "the wheel's"])
def test_psql_has_the_configured_database(database_url: str, path: str) -> None:
    """`groundwork psql` passes its arguments to psql, options included."""
    done = groundwork("psql", "-At", "-c", "SELECT 6 * 7", DATABASE_URL=database_url, PATH=path)

    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")
