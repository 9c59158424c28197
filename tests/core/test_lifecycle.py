"""What a signal sets going; how a process ends of it is in tests/faults."""

import asyncio
import dataclasses
import logging
import os
import signal
import threading
from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from groundwork.core import lifecycle
from groundwork.core.config import Settings
from groundwork.core.lifecycle import Lifecycle

STOPS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def server() -> Iterator[Mock]:
    """Give what stands for the server's own handler of either signal."""
    handler = Mock()
    before = {number: signal.signal(number, handler) for number in STOPS}
    yield handler
    for number, found in before.items():
        signal.signal(number, found)


@pytest.fixture
def end(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Give what is set where the watchdog would end the process."""
    ended = threading.Event()
    monkeypatch.setattr(lifecycle, "_end", ended.set)
    monkeypatch.setattr(lifecycle, "_MARGIN_SECONDS", 0.2)
    return ended


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Give settings of a drain that takes a moment."""
    return dataclasses.replace(settings, shutdown_drain_seconds=0.1, shutdown_grace_seconds=0.1)


async def test_sigterm_is_passed_on_after_the_drain(
    settings: Settings, server: Mock, end: threading.Event
) -> None:
    """The drain begins at once, and the server hears of the signal at its end."""
    lifecycle, on_drain = Lifecycle(settings), Mock()
    with lifecycle.handle_signals(on_drain):
        lifecycle.started -= 1
        signal.raise_signal(signal.SIGTERM)
        await asyncio.sleep(0.05)
        assert (lifecycle.draining, on_drain.call_count, server.call_count) == (True, 1, 0)
        await asyncio.sleep(0.1)

    assert server.call_args.args[0] == signal.SIGTERM
    assert not end.is_set()


@pytest.mark.parametrize(("number", "age"), [(signal.SIGINT, 1), (signal.SIGTERM, 0)])
async def test_nobody_waits_for_a_drain_without_balancers(
    settings: Settings, server: Mock, end: threading.Event, number: int, age: float
) -> None:
    """A person's Ctrl-C, and the end of an instance that nobody has found yet, skip the drain."""
    lifecycle = Lifecycle(settings)
    with lifecycle.handle_signals(Mock()):
        lifecycle.started -= age
        signal.raise_signal(number)
        await asyncio.sleep(0.05)

    assert server.call_args.args[0] == number
    assert not end.is_set()


async def test_a_second_signal_ends_the_drain(
    settings: Settings, server: Mock, end: threading.Event
) -> None:
    """Who asks twice does not want to wait."""
    lifecycle = Lifecycle(settings)
    with lifecycle.handle_signals(Mock()):
        lifecycle.started -= 1
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
        await asyncio.sleep(0.05)

    assert server.call_count == 1
    assert not end.is_set()


@pytest.mark.usefixtures("server")
async def test_the_watchdog_ends_what_hangs(settings: Settings, end: threading.Event) -> None:
    """After the drain, the grace and a margin the process is ended, and not before."""
    lifecycle = Lifecycle(settings)
    with lifecycle.handle_signals(Mock()):
        lifecycle.started -= 1
        signal.raise_signal(signal.SIGTERM)

        watchdogs = [one for one in threading.enumerate() if isinstance(one, threading.Timer)]
        assert {one.daemon for one in watchdogs} == {True}  # they keep no process alive
        assert not await asyncio.to_thread(end.wait, 0.3)
        assert await asyncio.to_thread(end.wait, 5)


@pytest.mark.usefixtures("end")
async def test_the_handlers_found_are_put_back(settings: Settings, server: Mock) -> None:
    """Whoever had the signals before has them again."""
    with Lifecycle(settings).handle_signals(Mock()):
        assert server not in {signal.getsignal(number) for number in STOPS}

    assert {signal.getsignal(number) for number in STOPS} == {server}


def test_the_end_is_an_error_and_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The watchdog leaves a line, sees it written, and exits with 1."""
    order = Mock()
    monkeypatch.setattr(os, "_exit", order.exit)
    monkeypatch.setattr(caplog.handler, "flush", order.flush)

    lifecycle._end()  # noqa: SLF001 - it would end this process as well

    assert [(entry.levelno, entry.name) for entry in caplog.records] == [
        (logging.CRITICAL, "groundwork.core.lifecycle")
    ]
    assert [call[0] for call in order.method_calls][-2:] == ["flush", "exit"]
    order.exit.assert_called_once_with(1)


def test_a_thread_has_no_signals_to_handle(settings: Settings) -> None:
    """Outside the main thread, where no signal arrives, it leaves the handlers as they are."""
    before, within = signal.getsignal(signal.SIGTERM), []

    def serve() -> None:
        with Lifecycle(settings).handle_signals(on_drain=Mock()):
            within.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()

    assert within == [before]
