"""A bounded queue between the service and its stdout: a reader that stalls stops nobody."""

import logging
import os
import threading
import time
from collections import deque
from typing import override

from groundwork.core.observability.metrics import LOG_LINES_DROPPED

_LIMIT = 10_000
_CHARACTERS = 16 * 1024 * 1024  # of all lines: one may hold a path of 64 KiB, escaped, twice
_FLUSH_SECONDS = 0.3


class QueueHandler(logging.Handler):
    """Formats in the caller, for its request id; writes in a thread; drops and counts when full.

    It writes to the descriptor, past sys.stdout, whose flush at the end of the process would wait
    for the reader.
    """

    def __init__(self, descriptor: int = 1) -> None:
        super().__init__()
        self.dropped = 0
        self._descriptor = descriptor
        self._lines: deque[str] = deque()
        # Characters in all. Two counters, as the thread that writes must not share one.
        self._taken = self._written = 0
        self._wake = threading.Event()
        self._closed = False
        threading.Thread(target=self._write_all, name="log writer", daemon=True).start()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        if len(self._lines) >= _LIMIT or self._taken - self._written >= _CHARACTERS:
            self._drop()
            return
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - a broken record is logging's to report
            self.handleError(record)
            return
        self._lines.append(line)
        self._taken += len(line)
        self._wake.set()

    @override
    def flush(self) -> None:
        """Wait until all is written, but not for a reader that has stalled."""
        deadline = time.monotonic() + _FLUSH_SECONDS
        while self._lines and time.monotonic() < deadline:
            time.sleep(0.001)

    @override
    def close(self) -> None:
        self._closed = True
        self._wake.set()
        super().close()

    def _write_all(self) -> None:
        while not self._closed or self._lines:
            self._wake.wait()
            self._wake.clear()
            while self._lines:
                # It leaves the queue once it is out, so an empty queue means that all is written.
                self._write(f"{self._lines[0]}\n".encode())
                self._written += len(self._lines.popleft())

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            self._drop()

    def _drop(self) -> None:
        self.dropped += 1
        LOG_LINES_DROPPED.inc()
