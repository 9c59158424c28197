"""Event loop lag: a timer measures it, and a thread logs the stack that blocks the loop."""

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from groundwork.core.observability import metrics

logger = logging.getLogger(__name__)

_TICK_SECONDS = 0.05
_LOG_SECONDS = 0.5  # a loop blocked for longer is logged, once each time
# The longest lag of a minute is exported: a scrape that timed out must not use it up.
_LAGS = 1200


class LoopMonitor:
    """Measures how late the event loop runs a callback that is due every 50 ms."""

    def __init__(self) -> None:
        self.lag = 0.0  # seconds, the latest
        self.blocked_seconds = 0.0  # in all since startup
        self._lags = deque([0.0], _LAGS)
        self._due = float("inf")  # of the next tick
        metrics.LOOP_LAG_MAX.set_function(lambda: max(self._lags))

    @contextmanager
    def run(self) -> Iterator[None]:
        """Measure the running loop, which must be this thread's."""
        loop = asyncio.get_running_loop()
        stopped = threading.Event()
        self._tick(loop)
        watched = (threading.get_ident(), stopped)
        threading.Thread(target=self._watch, args=watched, daemon=True).start()
        try:
            yield
        finally:
            stopped.set()
            self._handle.cancel()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        self.lag = lag = max(now - self._due, 0.0)
        metrics.LOOP_LAG.observe(lag)
        self._lags.append(lag)
        self.blocked_seconds += lag
        self._due = now + _TICK_SECONDS
        self._handle = loop.call_later(_TICK_SECONDS, self._tick, loop)

    def _watch(self, thread: int, stopped: threading.Event) -> None:
        logged = 0.0
        while not stopped.wait(_LOG_SECONDS / 5):
            due = self._due
            if time.monotonic() - due > _LOG_SECONDS and due != logged:
                logged = due
                stack = "".join(traceback.format_stack(sys._current_frames()[thread]))  # noqa: SLF001 - documented, and the one way
                logger.warning("event loop blocked", extra={"stack": stack})
