"""`groundwork serve`: one process of uvicorn, as production wants it."""

import signal
import sys

import uvicorn

from groundwork.core.config import Settings
from groundwork.main import create_app


def serve(settings: Settings) -> None:
    """Serve until told to stop; a clean stop exits with 0."""
    # uvicorn raises its signal again when it is done, for the handlers it found.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=int(settings.shutdown_grace_seconds),
    )
