"""`groundwork serve`: one process of uvicorn, as production wants it."""

import logging
import signal
import sys

import uvicorn

from groundwork.core.config import Settings
from groundwork.listen import listen
from groundwork.main import create_app

logger = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; exit with 0 after a clean shutdown."""
    # uvicorn raises its signal again when it is done, for the handlers it found.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    sockets = listen(settings.host, settings.port)
    config = uvicorn.Config(
        create_app(settings),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        workers=1,  # whatever WEB_CONCURRENCY is
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=int(settings.shutdown_grace_seconds),
    )
    logger.info("listening", extra={"host": settings.host, "port": settings.port})
    server = uvicorn.Server(config)
    server.run(sockets)
    if not server.started:
        sys.exit(1)
