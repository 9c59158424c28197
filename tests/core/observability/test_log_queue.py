"""The queue between the service and its stdout."""

import logging
import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from resource import RLIMIT_FSIZE
from typing import Any

import pytest
from prometheus_client import REGISTRY

from groundwork.core.observability.log_queue import QueueHandler
from tests.servers import wait_until

MOST = 2 * 1024 * 1024


def record(message: str) -> logging.LogRecord:
    """Return a record with this message."""
    return logging.LogRecord("shop", logging.INFO, __file__, 1, message, (), None)


def dropped_lines() -> float:
    """Return how many lines have been dropped."""
    return REGISTRY.get_sample_value("groundwork_log_lines_dropped_total") or 0


class Unprintable:
    """A message, or a value, of which nothing can be written."""

    def __str__(self) -> str:
        """Fail."""
        raise RuntimeError


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
    handler, before = QueueHandler(pipe[1]), dropped_lines()
    started = time.monotonic()
    for _ in range(4000):
        handler.emit(record("x" * 1000))
    handler.flush()

    assert time.monotonic() - started < 5
    assert 1500 < dropped_lines() - before <= 4000 - MOST // 1001
    read_all(handler, pipe[0])
    handler.close()


def test_the_writer_is_a_daemon_thread(pipe: tuple[int, int]) -> None:
    """The writer thread does not keep the process alive, has a name, and ends with its handler."""
    before = threading.enumerate()
    handler = QueueHandler(pipe[1])

    (writer,) = [thread for thread in threading.enumerate() if thread not in before]
    handler.close()
    writer.join(timeout=5)

    assert (writer.daemon, writer.name, writer.is_alive()) == (True, "log writer", False)


def test_the_queue_is_bounded_in_memory(pipe: tuple[int, int]) -> None:
    """Lines fill the queue by their length, so memory stays bounded."""
    handler, before = QueueHandler(pipe[1]), dropped_lines()
    for _ in range(400):
        handler.emit(record("x" * 100_000))
    kept = 400 - (dropped_lines() - before)

    assert 1_000_000 < kept * 100_000 <= MOST + 200_000
    read_all(handler, pipe[0])
    for _ in range(5):
        handler.emit(record("x" * 100_000))  # there is room again
    assert dropped_lines() - before == 400 - kept
    read_all(handler, pipe[0])
    handler.close()


def read_all(handler: QueueHandler, reading: int) -> None:
    """Consume all lines, so that the writer thread can end."""
    os.set_blocking(reading, False)
    while handler._written < handler._taken:  # noqa: SLF001 - the size of the queue is private
        with suppress(BlockingIOError):
            os.read(reading, 65536)


@pytest.mark.parametrize("path", [None, "/dev/full"], ids=["closed pipe", "full disk"])
def test_lines_that_cannot_be_written_are_counted(path: str | None) -> None:
    """Lines to a closed pipe or a full disk are dropped and counted."""
    reading, writing = os.pipe()
    os.close(reading)
    if path:
        os.close(writing)
        writing = os.open(path, os.O_WRONLY)
    handler, before = QueueHandler(writing), dropped_lines()
    for _ in range(2):
        handler.emit(record("lost"))

    handler.flush()
    handler.close()

    assert dropped_lines() - before == 2
    os.close(writing)


def test_a_line_that_a_full_disk_cuts_off_spoils_no_other(tmp_path: Path) -> None:
    """Once there is room again, the next line is a line of its own."""
    file = tmp_path / "log"
    writing, limits = os.open(file, os.O_WRONLY | os.O_CREAT), resource.getrlimit(RLIMIT_FSIZE)
    handler, before = QueueHandler(writing), dropped_lines()
    resource.setrlimit(RLIMIT_FSIZE, (5, limits[1]))
    try:
        for _ in range(2):
            handler.emit(record("cut off"))
            handler.flush()
    finally:
        resource.setrlimit(RLIMIT_FSIZE, limits)

    handler.emit(record("next"))
    handler.flush()

    assert (file.read_text(), dropped_lines() - before) == ("cut o\nnext\n", 2)
    handler.close()
    os.close(writing)


@pytest.mark.parametrize(("message", "text"), [("%d", "%d"), (Unprintable(), "Unprintable")])
def test_a_broken_record_is_reported(
    pipe: tuple[int, int], capsys: pytest.CaptureFixture[str], message: Any, text: str
) -> None:
    """A record that cannot be formatted leaves a line; nothing goes to stderr, which may stall."""
    handler = QueueHandler(pipe[1])
    broken = record(message)
    broken.args = ("no number",)

    handler.emit(broken)
    handler.flush()

    assert not capsys.readouterr().err
    written = os.read(pipe[0], 65536).decode()
    assert written.startswith(f"cannot be written: {text}\nTraceback")
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
    """If another process has made stdout non-blocking, the writer makes it wait for the reader."""
    os.set_blocking(pipe[1], False)
    handler, before = QueueHandler(pipe[1]), dropped_lines()
    for number in range(100):
        handler.emit(record(f"{number} " + "x" * 10_000))
    wait_until(lambda: os.get_blocking(pipe[1]))
    received = b""
    while received.count(b"\n") < 100:
        received += os.read(pipe[0], 65536)

    assert [int(line.split()[0]) for line in received.splitlines()] == list(range(100))
    assert dropped_lines() == before
    handler.close()
