"""`groundwork serve`: one process of uvicorn, as production wants it."""

import gc
import logging
import os
import signal
import socket
import sys

from groundwork.core.config import Settings, settings_or_exit
from groundwork.listen import listen


def serve(settings: Settings | None = None, sockets: list[socket.socket] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; exit with 0 after a clean shutdown."""
    settings = settings or settings_or_exit()
    runs = False  # an import swallows an exception in one of its callbacks
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0) if runs else os._exit(0))
    sockets = sockets or listen(settings.host, settings.port)
    gc.disable()
    import uvicorn  # these take a while: what is wrong with the settings shows before

    from groundwork.main import create_app
    from groundwork.protocol import Protocol

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
    # What has been imported is no garbage, and a request leaves little: without this, garbage
    # collection takes a tenth of a busy process' time.
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()
    where, server = {"host": settings.host, "port": settings.port}, uvicorn.Server(config)
    logging.getLogger(__name__).info("listening", extra=where)
    runs = True  # uvicorn raises its signal again when it is done, for the handlers it found
    server.run(sockets)
    if not server.started:
        sys.exit(1)
