"""Graceful shutdown: SIGTERM starts the drain, and a watchdog forces exit if shutdown stalls."""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from groundwork.core.config import Settings

logger = logging.getLogger(__name__)

# The exit is promised within drain + grace + 3 s; the watchdog acts a little earlier.
_MARGIN_SECONDS = 2.7
# A load balancer may know an instance of this age, even if it has not sent a request.
_UNKNOWN_SECONDS = 1.0


class Lifecycle:
    """When this instance started, whether it has had a request, and whether it is draining."""

    def __init__(self, settings: Settings) -> None:
        self.started = time.monotonic()
        self.has_served = self.draining = False
        self._drain = settings.shutdown_drain_seconds
        self._grace = settings.shutdown_grace_seconds

    @contextmanager
    def handle_signals(self, on_drain: Callable[[], None]) -> Iterator[None]:
        """Drain on SIGTERM, then pass the signal on to the handlers that were installed before."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals reach the main thread only
            return
        loop = asyncio.get_running_loop()
        found = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

        def handle(number: int, _: FrameType | None) -> None:
            is_known = self.has_served or time.monotonic() - self.started >= _UNKNOWN_SECONDS
            waits = number == signal.SIGTERM and not self.draining and is_known
            delay = self._drain if waits else 0
            watchdog = threading.Timer(delay + self._grace + _MARGIN_SECONDS, _end)
            watchdog.daemon = True
            with suppress(RuntimeError):  # the system allows no more threads
                watchdog.start()
            self.draining = True
            loop.call_soon_threadsafe(on_drain)
            loop.call_soon_threadsafe(loop.call_later, delay, pass_on, number)

        def pass_on(number: int) -> None:
            signal.signal(number, found[signal.Signals(number)])
            signal.raise_signal(number)

        for number in found:
            signal.signal(number, handle)
        try:
            yield
        finally:
            for number, handler in found.items():
                if signal.getsignal(number) is handle:  # else uvicorn has ended before the lifespan
                    signal.signal(number, handler)


def flush_log() -> None:
    """Write what the log still holds: a signal ends uvicorn's command without Python's exit."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def _end() -> None:
    logger.critical("shutdown timed out, forcing exit")
    flush_log()
    os._exit(1)
