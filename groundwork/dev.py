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
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, override

import uvicorn
from uvicorn.supervisors import ChangeReload

from groundwork.core.config import Settings, settings_or_exit
from groundwork.core.database.connections import SQL_DIR
from groundwork.core.database.migrations import migrate
from groundwork.core.environment import DEV_DATABASE_URL, exit_with, read_environment
from groundwork.embedded import postgres
from groundwork.listen import listen
from groundwork.probe import local_address

HOME = DEV_DATABASE_URL.parent
_RELOAD = ["*.py", "*.sql", "*.html", "*.json", "*.js", "*.css"]
# What development wants otherwise; the environment and .env still win.
_DEFAULTS = {"DEBUG": "true", "LOG_JSON": "false", "SHUTDOWN_DRAIN_SECONDS": "0"}
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_NOT_MIGRATED = """\
migrations were not applied; the service runs on the database as it is. In another terminal:
           edit one that is applied: `uv run yoyo rollback --revision NAME`, edit the file,
           then `uv run groundwork migrate`; or start afresh: press Ctrl-C, remove the data in
           .groundwork/postgres (DATABASE_URL: recreate the database), start again\
"""


def dev() -> None:
    """Serve until Ctrl-C, SIGTERM or SIGHUP, then stop the database too."""
    for number in _STOP_SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # by nohup
            signal.signal(number, _leave)
    names = (*_DEFAULTS, "DATABASE_URL", "ENVIRONMENT")
    given, unread = read_environment(names, running_dev=False)
    if given.get("ENVIRONMENT") in {"staging", "production"}:
        exit_with("`groundwork dev` is for ENVIRONMENT=development")
    for name in _DEFAULTS.keys() - given.keys() - unread.keys():
        os.environ[name] = _DEFAULTS[name]
    if "DATABASE_URL" in given.keys() | unread.keys():
        settings = settings_or_exit()
        _say("database", "the one that DATABASE_URL names")
        _serve(settings, listen(settings.host, settings.port))
        return
    os.environ["DATABASE_URL"] = "postgresql://"  # for this look at the other settings alone
    settings = settings_or_exit()
    sockets = listen(settings.host, settings.port)
    try:
        HOME.mkdir(exist_ok=True)
        with _only_one(), _database():
            _serve(settings, sockets)
    except OSError as error:
        exit_with(f"{error.filename}: {error.strerror}")


@contextmanager
def _database() -> Iterator[None]:
    """Run PostgreSQL; the other commands find it by a file with its address."""
    _say("starting", f"PostgreSQL, its data in {HOME / 'postgres'}")
    with postgres(HOME / "postgres") as url:
        os.environ["DATABASE_URL"] = url
        DEV_DATABASE_URL.write_text(url)
        try:
            _say("database", "uv run groundwork psql")
            yield
        finally:
            DEV_DATABASE_URL.unlink(missing_ok=True)


def _serve(settings: Settings, sockets: list[socket.socket]) -> None:
    """Apply what is pending, once: a reload would apply a migration that is half written."""
    try:
        migrate()
    except SystemExit as error:
        _say("", f"{error}\n{_NOT_MIGRATED}")
    logging.basicConfig(
        format="reload     %(message)s", stream=sys.stdout, level=logging.WARNING, force=True
    )
    host = local_address(settings.host)
    address = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
    _say("service", f"{address}/ in a browser, {address}/health/ready for a program")
    _say("", "reloads when a file changes; applies new migrations when it is started again")
    config = uvicorn.Config(
        "groundwork.main:create_app",
        factory=True,
        reload=True,
        reload_dirs=[str(Path(__file__).parent), str(SQL_DIR)],
        reload_includes=_RELOAD,
        ws="none",
        lifespan="on",
        workers=1,  # whatever WEB_CONCURRENCY is
        server_header=False,
        log_config=None,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=1,
    )
    _Reloader(config, target=partial(_run, config), sockets=sockets).run()


class _Reloader(ChangeReload):  # type: ignore[valid-type,misc]  # one of two classes
    """The reloader of uvicorn, which a terminal's signals end without a traceback."""

    @override
    def startup(self) -> None:
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self.signal_handler)
        with _blocked(signal.SIGINT):
            super().startup()

    @override
    def restart(self) -> None:
        with _blocked(signal.SIGINT):
            super().restart()

    @override
    def signal_handler(self, sig: int, frame: FrameType | None) -> None:
        # It sets an event, and would wait for ever where this thread has just taken its lock.
        threading.Thread(target=super().signal_handler, args=(sig, frame)).start()


@contextmanager
def _blocked(number: signal.Signals) -> Iterator[None]:
    """Start a process that ignores a signal of the terminal: the reloader is what ends it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})


def _run(config: uvicorn.Config, sockets: list[socket.socket]) -> None:
    """Serve in the reloader's child, and end when the reloader is gone, even if it was killed."""
    parent: Any = multiprocessing.parent_process()

    def end_with_parent() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_with_parent, daemon=True).start()
    uvicorn.Server(config).run(sockets)


def _leave(*_: object) -> None:
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave PostgreSQL behind
    sys.exit(0)


def _say(what: str, text: str) -> None:
    print(f"{what:10} {text}", flush=True)


@contextmanager
def _only_one() -> Iterator[None]:
    with (HOME / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            exit_with("`groundwork dev` already runs in this folder")
        yield
