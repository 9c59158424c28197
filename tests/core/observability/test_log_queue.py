"""The queue between the service and its stdout."""

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from unittest.mock import Mock

import pytest

from groundwork.core.observability.log_queue import QueueHandler

LIMIT = 10_000
MOST = 16 * 1024 * 1024


def record(message: str) -> logging.LogRecord:
    """Return a record with this message."""
    return logging.LogRecord("shop", logging.INFO, __file__, 1, message, (), None)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Return the read end and the write end of a pipe."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_lines_come_out_in_order(pipe: tuple[int, int]) -> None:
    """Each record is one line, and flush waits until all lines are written."""
    handler = QueueHandler(pipe[1])
    for number in range(100):
        handler.emit(record(str(number)))

    handler.flush()

    assert os.read(pipe[0], 65536).split() == [b"%d" % number for number in range(100)]
    handler.close()


def test_a_stalled_consumer_blocks_nothing(pipe: tuple[int, int]) -> None:
    """If the consumer stalls, lines are dropped and counted, and flush times out."""
    handler = QueueHandler(pipe[1])
    started = time.monotonic()
    for _ in range(LIMIT * 2):
        handler.emit(record("x" * 100))
    handler.flush()

    assert time.monotonic() - started < 5
    assert handler.dropped >= LIMIT * 2 - LIMIT - 65536 // 100 - 1
    read_all(handler, pipe[0])
    handler.close()


def test_the_writer_is_a_daemon_thread(pipe: tuple[int, int]) -> None:
    """The writer thread does not keep the process alive, and has a name."""
    before = threading.enumerate()
    handler = QueueHandler(pipe[1])

    (writer,) = [thread for thread in threading.enumerate() if thread not in before]
    handler.close()

    assert (writer.daemon, writer.name) == (True, "log writer")


def test_the_queue_is_bounded_in_memory(pipe: tuple[int, int]) -> None:
    """Long lines fill the queue before the limit of lines, so memory stays bounded."""
    handler = QueueHandler(pipe[1])
    for _ in range(400):
        handler.emit(record("x" * 100_000))
    kept = 400 - handler.dropped

    assert 4_000_000 < kept * 100_000 <= MOST + 200_000
    read_all(handler, pipe[0])
    for _ in range(5):
        handler.emit(record("x" * 100_000))  # there is room again
    assert handler.dropped == 400 - kept
    read_all(handler, pipe[0])
    handler.close()


def read_all(handler: QueueHandler, reading: int) -> None:
    """Consume all lines, so that the writer thread can end."""
    os.set_blocking(reading, False)
    while handler._lines:  # noqa: SLF001 - # the number of queued lines is private
        with suppress(BlockingIOError):
            os.read(reading, 65536)


def test_lines_to_a_closed_pipe_are_counted() -> None:
    """Lines to a closed pipe are dropped and counted."""
    reading, writing = os.pipe()
    os.close(reading)
    handler = QueueHandler(writing)
    for _ in range(2):
        handler.emit(record("lost"))

    handler.flush()
    handler.close()

    assert handler.dropped == 2
    os.close(writing)


def test_a_broken_record_is_reported(
    pipe: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    """A record that cannot be formatted is reported on stderr."""
    handler = QueueHandler(pipe[1])
    broken = record("%d")
    broken.args = ("no number",)

    handler.emit(broken)

    assert "Logging error" in capsys.readouterr().err
    handler.close()


def test_a_line_that_cannot_be_encoded_is_escaped(pipe: tuple[int, int]) -> None:
    """A lone surrogate is written as its escape, and the next line is written too."""
    handler = QueueHandler(pipe[1])
    handler.emit(record("path \udcff"))
    handler.emit(record("next"))

    handler.flush()

    assert os.read(pipe[0], 65536) == b"path \\udcff\nnext\n"
    handler.close()


def test_a_non_blocking_descriptor_loses_nothing(pipe: tuple[int, int]) -> None:
    """If another process has made stdout non-blocking, the writer waits for the reader."""
    os.set_blocking(pipe[1], False)
    handler = QueueHandler(pipe[1])
    for number in range(100):
        handler.emit(record(f"{number} " + "x" * 10_000))
    received = b""
    while received.count(b"\n") < 100:
        received += os.read(pipe[0], 65536)

    assert [int(line.split()[0]) for line in received.splitlines()] == list(range(100))
    assert handler.dropped == 0
    handler.close()


def test_a_line_after_a_torn_one_is_whole(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If an error cuts a line off, a full disk for instance, the next line starts a new line."""
    write, results = os.write, [4, OSError(28, "No space left"), OSError(28, "No space left")]

    def limited(descriptor: int, data: bytes) -> int:
        match results and results.pop(0):
            case OSError() as error:
                raise error
            case int(size) if size:
                return write(descriptor, data[:size])
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", limited)
    handler = QueueHandler(pipe[1])
    for message in ("torn in two", "lost", "whole"):
        handler.emit(record(message))
        handler.flush()

    assert os.read(pipe[0], 65536) == b"torn\nwhole\n"
    assert handler.dropped == 2
    handler.close()


def test_a_closed_stdout_is_not_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """If stdout was closed at startup, descriptor 1 may be a socket: the log goes nowhere."""
    monkeypatch.setattr(sys, "__stdout__", None)
    monkeypatch.setattr(os, "write", write := Mock(side_effect=lambda _, data: len(data)))
    handler = QueueHandler()
    handler.emit(record("nowhere"))
    handler.flush()

    assert write.call_args.args[0] > 2
    os.close(write.call_args.args[0])
    handler.close()
