"""A bounded queue between the service and stdout, so that a stalled reader stops no request."""

import logging
import os
import sys
import threading
import time
from queue import SimpleQueue
from typing import override

from groundwork.core.observability.metrics import LOG_LINES_DROPPED

_MAX_CHARACTERS = 2 * 1024 * 1024  # some 10,000 lines
_FLUSH_SECONDS = 0.3
# The writer wakes up once for many lines: a switch of threads costs more than a request.
_PAUSE_SECONDS = 0.01


class QueueHandler(logging.Handler):
    """Format in the caller, for its request ID; write in a thread; drop and count when full.

    It writes to the descriptor, not to sys.stdout, whose flush at exit would wait for the reader.
    """

    def __init__(self, descriptor: int = 1) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines = SimpleQueue[str]()
        # Characters in all. Two counters, because the caller and the writer must not share one.
        self._taken = self._written = 0
        threading.Thread(target=self._write_all, name="log writer", daemon=True).start()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        if self._taken - self._written >= _MAX_CHARACTERS:
            LOG_LINES_DROPPED.inc()
            return
        try:
            line = f"{self.format(record)}\n"
        except Exception:  # noqa: BLE001 - the line says so: stderr may have a stalled reader too
            line = f"{self.format(_without_values(record))}\n"
        self._taken += len(line)
        self._lines.put(line)

    @override
    def flush(self) -> None:
        """Wait until all lines are written, but not for a stalled reader."""
        deadline = time.monotonic() + _FLUSH_SECONDS
        while self._written < self._taken and time.monotonic() < deadline:
            time.sleep(0.001)

    @override
    def close(self) -> None:
        self._lines.put("")
        super().close()

    def _write_all(self) -> None:
        batch, start = ["\n"], b""  # or a line break, where a full disk has cut off a line
        while "" not in batch:  # it is closed
            batch = [self._lines.get()]
            time.sleep(_PAUSE_SECONDS)
            batch += [self._lines.get() for _ in range(self._lines.qsize())]
            text = "".join(batch)
            rest = start + text.encode(errors="backslashreplace")
            try:
                while rest:
                    written = self._write(rest)
                    start, rest = b"\n"[: rest[written - 1] != ord("\n")], rest[written:]
            except OSError:
                LOG_LINES_DROPPED.inc(len(batch))
            self._written += len(text)

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:  # a process that shares the descriptor has made it so
            os.set_blocking(self._descriptor, True)
            return 0


def _without_values(record: logging.LogRecord) -> logging.LogRecord:
    """Return a record without arguments and extras, with the exception that is being handled."""
    text = record.msg if type(record.msg) is str else type(record.msg).__name__
    message = f"cannot be written: {text}"
    return logging.LogRecord(record.name, record.levelno, "", 0, message, (), sys.exc_info())
