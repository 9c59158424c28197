"""A bounded queue between the service and stdout, so that a stalled reader stops no request."""

import logging
import os
import select
import sys
import threading
import time
from collections import deque
from typing import override

from groundwork.core.observability.metrics import LOG_LINES_DROPPED

_MAX_LINES = 10_000
_MAX_CHARACTERS = 16 * 1024 * 1024  # of all lines: one may hold a path of 64 KiB, escaped, twice
_FLUSH_SECONDS = 0.3
# The writer wakes up once for many lines: a switch of threads costs more than a request.
_PAUSE_SECONDS = 0.01
_BATCH = 256


class QueueHandler(logging.Handler):
    """Format in the caller, for its request ID; write in a thread; drop and count when full.

    It writes to the descriptor, not to sys.stdout, whose flush at exit would wait for the reader.
    """

    def __init__(self, descriptor: int = 1) -> None:
        super().__init__()
        self.dropped = 0
        self._dropping = threading.Lock()
        if descriptor == 1 and sys.__stdout__ is None:  # closed: its number may be a socket's now
            descriptor = os.open(os.devnull, os.O_WRONLY)
        self._descriptor = descriptor
        self._lines: deque[str] = deque()
        # Characters in all. Two counters, because the caller and the writer must not share one.
        self._taken = self._written = 0
        self._wake = threading.Event()
        self._closed = self._torn = False
        threading.Thread(target=self._write_all, name="log writer", daemon=True).start()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        if len(self._lines) >= _MAX_LINES or self._taken - self._written >= _MAX_CHARACTERS:
            self._drop()
            return
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - logging reports a broken record
            self.handleError(record)
            return
        self._lines.append(line)
        self._taken += len(line)
        if not self._wake.is_set():
            self._wake.set()

    @override
    def flush(self) -> None:
        """Wait until all lines are written, but not for a stalled reader."""
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
            time.sleep(_PAUSE_SECONDS)
            self._wake.clear()
            while self._lines:
                batch = [self._lines[at] for at in range(min(len(self._lines), _BATCH))]
                text = "".join(f"{line}\n" for line in batch)
                self._write(text.encode(errors="backslashreplace"), len(batch))
                # Lines leave the queue once they are written: an empty queue means that all are.
                for _ in batch:
                    self._written += len(self._lines.popleft())

    def _write(self, lines: bytes, count: int) -> None:
        """Write lines, on a line of their own even if an error has cut off the one before."""
        rest = lines = b"\n" * self._torn + lines
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # a process that shares the descriptor has made it non-blocking
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()
            except OSError:
                self._torn |= len(rest) < len(lines)
                for _ in range(count):
                    self._drop()
                return
        self._torn = False

    def _drop(self) -> None:
        with self._dropping:
            self.dropped += 1
        LOG_LINES_DROPPED.inc()
