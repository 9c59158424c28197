"""`groundwork serve`: one process of uvicorn, as production wants it."""

import errno
import gc
import logging
import os
import pickle
import signal
import socket
import sys
from contextlib import suppress
from typing import NoReturn

from groundwork.core.config import Settings, settings_or_exit
from groundwork.core.database_url import answers
from groundwork.core.environment import exit_with

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# A machine without IPv6 still listens on IPv4.
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}


def serve(sockets: list[socket.socket] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; exit with 0 after a clean shutdown."""
    runs = False  # an import discards an exception in one of its callbacks
    for number in _SIGNALS:
        signal.signal(number, lambda *_: _exit_cleanly() if runs else os._exit(0))
    gc.disable()
    import uvicorn  # before the fork: the child needs most of its modules too

    from groundwork.main import create_app
    from groundwork.protocol import Protocol

    settings = _read_settings()
    sockets = sockets or listen(settings.host, settings.port)
    config = uvicorn.Config(
        create_app(settings),
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="on",
        workers=1,  # whatever WEB_CONCURRENCY is
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.shutdown_grace_seconds,  # type: ignore[arg-type]  # works
    )
    # Without this, garbage collection takes a tenth of a busy process' time, and finds little.
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()
    where, server = {"host": settings.host, "port": settings.port}, uvicorn.Server(config)
    logging.getLogger(__name__).info("listening", extra=where)
    runs = True  # uvicorn raises its signal again when it is done, for the handlers it found
    server.run(sockets)
    if not server.started:
        sys.exit(1)


def _read_settings() -> Settings:
    """Read the settings in a child process: environs and libpq would take 6 MiB for good."""
    reader, writer = os.pipe()
    try:
        child = os.fork()
    except OSError:  # the system allows no more processes
        return settings_or_exit()
    if not child:
        with suppress(Exception), os.fdopen(writer, "wb") as pipe:  # the parent meets it too
            os.close(reader)
            try:
                pickle.dump((settings_or_exit(), answers, set(os.environ)), pipe)
            except SystemExit as error:
                pickle.dump((error.code, {}, set()), pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        found = pipe.read()
    with suppress(ChildProcessError):  # who started this process may ignore SIGCHLD
        os.waitpid(child, 0)
    if not found:  # it was killed
        return settings_or_exit()
    settings, read, names = pickle.loads(found)  # noqa: S301 - of this program
    if not isinstance(settings, Settings):
        sys.exit(settings)
    answers.update(read)
    for name in os.environ.keys() - names:  # reading may have removed PG*
        del os.environ[name]
    return settings


def listen(host: str, port: int) -> list[socket.socket]:
    """Listen on HOST and PORT, or print why not and exit with 2.

    `::` is every address of this machine, IPv4 and IPv6: two sockets, so that an IPv4 client has
    an IPv4 address in the log and in FORWARDED_ALLOW_IPS.
    """
    hosts = ("0.0.0.0", "::") if (host := host.strip("[]")) == "::" else (host,)  # noqa: S104 - as set
    sockets: list[socket.socket] = []
    for one in hosts:
        family = socket.AF_INET6 if ":" in one else socket.AF_INET
        try:
            sockets.append(socket.create_server((one, port), family=family))
        except (OSError, UnicodeError) as error:
            if not sockets or getattr(error, "errno", None) not in _NO_IPV6:
                exit_with(f"cannot listen on HOST {host}, PORT {port}: {error}")
    return sockets


def _exit_cleanly() -> NoReturn:
    """Exit with 0; ignore more signals, which would end Python's own exit."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit(0)
