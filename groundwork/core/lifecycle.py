"""The stop: SIGTERM drains first, and nothing that hangs delays the end for long.

It lives in the lifespan, in front of the server's own signal handlers, so it works under any
command that starts uvicorn.
"""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from groundwork.core.config import Settings

logger = logging.getLogger(__name__)

POOL_CLOSE_SECONDS = 2.0
# A little under the 3 s promised beyond drain and grace, so that the promise holds.
_MARGIN_SECONDS = 2.7
# In its first second no balancer has found an instance yet.
_UNKNOWN_SECONDS = 1.0


class Lifecycle:
    """How long this instance lives, and whether it is draining."""

    def __init__(self, settings: Settings) -> None:
        self.started = time.monotonic()
        self.draining = False
        self._drain = settings.shutdown_drain_seconds
        self._grace = settings.shutdown_grace_seconds

    @contextmanager
    def handle_signals(self, on_drain: Callable[[], None]) -> Iterator[None]:
        """Stand in front of the handlers found, and pass the signal on after the drain.

        Args:
            on_drain: called in the event loop when the drain begins.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # signals reach the main thread alone
            return
        loop = asyncio.get_running_loop()
        self.started = time.monotonic()

        def handle(number: int, _: FrameType | None) -> None:
            waits = number == signal.SIGTERM and not self.draining and self._past_startup()
            delay = self._drain if waits else 0
            self._watch(delay + self._grace + _MARGIN_SECONDS)
            self.draining = True
            loop.call_soon_threadsafe(on_drain)
            loop.call_soon_threadsafe(loop.call_later, delay, pass_on, number)

        def pass_on(number: int) -> None:
            signal.signal(number, found[number])
            signal.raise_signal(number)

        numbers: tuple[int, ...] = (signal.SIGTERM, signal.SIGINT)
        found = {number: signal.getsignal(number) for number in numbers}
        for number in found:
            signal.signal(number, handle)
        try:
            yield
        finally:
            for number, handler in found.items():
                signal.signal(number, handler)

    def _past_startup(self) -> bool:
        return time.monotonic() - self.started >= _UNKNOWN_SECONDS

    def _watch(self, seconds: float) -> None:
        watchdog = threading.Timer(seconds, _end)
        watchdog.daemon = True
        watchdog.start()


def _end() -> None:
    logger.critical("the stop took too long; ended by the watchdog")
    for handler in logging.getLogger().handlers:
        handler.flush()
    os._exit(1)
