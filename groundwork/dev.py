"""`groundwork dev`: the service with reload, on a PostgreSQL that comes in a wheel."""

import fcntl
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from groundwork.core.config import Settings, settings_or_exit
from groundwork.core.database.connections import SQL_DIR
from groundwork.core.database.migrations import migrate
from groundwork.core.environment import DEV_DATABASE_URL, exit_with, read_environment, say, unset_pg
from groundwork.embedded import binaries, postgres
from groundwork.probe import local_address
from groundwork.serve import listen, serve

HOME = DEV_DATABASE_URL.parent
# Defaults for development; the environment and .env override them.
_DEFAULTS = {
    "DATABASE_URL": "postgresql://postgres@",  # until the address of its own PostgreSQL is known
    "DEBUG": "true",
    "LOG_JSON": "false",
    "SHUTDOWN_DRAIN_SECONDS": "0",
    "SHUTDOWN_GRACE_SECONDS": "1",
}
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_NOT_MIGRATED = """\
migrations were not applied; the service runs on the database as it is. To edit or rename one:
           `uv run yoyo rollback --revision NAME` before, `uv run groundwork migrate` afterwards;
           to start from scratch: stop, delete .groundwork/postgres (or your database), start again\
"""


def dev() -> None:
    """Serve until Ctrl-C, SIGTERM, SIGHUP or SIGQUIT, then stop the database too."""
    binaries()  # or exit, where this is no checkout, before anything is done
    if SQL_DIR.parent in Path.cwd().parents:  # psql would not find a database in a subfolder
        exit_with(f"run `groundwork dev` in {SQL_DIR.parent}")
    for number in _STOP_SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # by nohup
            signal.signal(number, _leave)
    given, unread = read_environment((*_DEFAULTS, "ENVIRONMENT"), running_dev=False)
    if given.get("ENVIRONMENT") in {"staging", "production"}:
        exit_with("`groundwork dev` is for ENVIRONMENT=development")
    if "DATABASE_URL" not in given:
        unset_pg()
    os.environ |= {name: value for name, value in _DEFAULTS.items() if name not in given | unread}
    settings = settings_or_exit()
    with ExitStack() as stack:
        sockets = [stack.enter_context(one) for one in listen(settings.host, settings.port)]
        if "DATABASE_URL" not in given:
            try:
                os.environ["DATABASE_URL"] = stack.enter_context(_database())
            except OSError as error:  # something else has the name of a file, or is not writable
                exit_with(f"{error}; to start from scratch, move {HOME} away")
        _serve(settings, sockets)


@contextmanager
def _database() -> Iterator[str]:
    """Run PostgreSQL; the other commands find it by a file with its address."""
    HOME.mkdir(exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            exit_with("`groundwork dev` already runs in this folder")
        _say("starting", f"PostgreSQL, its data in {HOME / 'postgres'}")
        with postgres(HOME / "postgres") as url:
            DEV_DATABASE_URL.write_text(url)
            try:
                yield url
            finally:
                DEV_DATABASE_URL.unlink(missing_ok=True)


def _serve(settings: Settings, sockets: list[socket.socket]) -> None:
    """Apply what is pending, once: a reload would apply a migration that is half written."""
    try:
        migrate()
    except SystemExit as error:
        _say("", f"{error}\n{_NOT_MIGRATED}")
    host = local_address(settings.host)
    address = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
    _say("service", f"{address}/ in a browser, {address}/health/ready for a program")
    _say("database", "uv run groundwork psql")
    _say("", "reloads when a file changes; applies new migrations when it is started again")
    with suppress(KeyboardInterrupt):  # how watchfiles passes every signal on
        _reload(sockets)


def _reload(sockets: list[socket.socket]) -> None:
    """Serve in a child process; start another when a file changes."""
    from watchfiles import watch  # for a checkout

    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    spawn = multiprocessing.get_context("spawn")
    resource_tracker.ensure_running()  # the first child would start it, which unblocks SIGINT
    changes = watch(Path(__file__).parent, SQL_DIR)
    while True:
        child = spawn.Process(target=_child, args=(sockets,), daemon=True)
        # Ctrl-C reaches the child too, and would cut off its imports: SIGTERM is what ends it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        child.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        try:
            _say("reload", ", ".join({path for _, path in next(changes)}))
        finally:
            child.terminate()
            child.join()


def _child(sockets: list[socket.socket]) -> None:
    """Serve, and end when the parent is gone, even if it was killed."""
    parent: Any = multiprocessing.parent_process()

    def end_with_parent() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_with_parent, daemon=True).start()
    serve(sockets)  # reads the settings: after an edit, Settings may have other fields


def _leave(*_: object) -> None:
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave PostgreSQL behind
    sys.exit(0)


def _say(what: str, text: str) -> None:
    say(f"{what:10} {text}")
