"""Event loop lag: a task measures it, and a thread logs the stack that blocks the loop."""

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections import deque
from typing import Never

from groundwork.core.observability import metrics

logger = logging.getLogger(__name__)

_TICK_SECONDS = 0.05
_LOG_SECONDS = 0.5  # a loop blocked for longer is logged, once each time
# The longest lag of a minute is exported: a scrape that timed out must not use it up.
_LAGS = 1200


class LoopMonitor:
    """Measures how late the event loop runs a task that is due every 50 ms."""

    def __init__(self) -> None:
        self.lags = deque([0.0], _LAGS)  # seconds, the latest last
        self._blocked = 0.0  # in all, up to the latest
        self._due = float("inf")  # the next
        metrics.LOOP_LAG_MAX.set_function(lambda: max(self.lags))

    @property
    def blocked_seconds(self) -> float:
        """Return how late the loop has been since startup, and is now."""
        return self._blocked + max(time.monotonic() - self._due, 0.0)

    async def run(self) -> Never:
        """Measure the running loop, which must be this thread's, until cancelled."""
        stopped = threading.Event()
        watched = (threading.get_ident(), stopped)
        threading.Thread(target=self._watch, args=watched, daemon=True).start()
        try:
            while True:
                self._due = time.monotonic() + _TICK_SECONDS
                await asyncio.sleep(_TICK_SECONDS)
                lag = max(time.monotonic() - self._due, 0.0)
                self.lags.append(lag)
                self._blocked += lag
                metrics.LOOP_LAG.observe(lag)
        finally:
            stopped.set()

    def _watch(self, thread: int, stopped: threading.Event) -> None:
        logged = 0.0
        while logger.isEnabledFor(logging.WARNING) and not stopped.wait(_LOG_SECONDS / 5):
            if time.monotonic() - (due := self._due) > _LOG_SECONDS and due != logged:
                logged = due
                stack = "".join(traceback.format_stack(sys._current_frames()[thread]))  # noqa: SLF001 - documented, and the one way
                line = (__name__, logging.WARNING, "", 0, "event loop blocked", (), None)
                logger.handle(logger.makeRecord(*line, sinfo=stack.rstrip()))
