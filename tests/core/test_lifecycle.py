"""Signals: drain, grace and watchdog. tests/faults has the shutdown of a whole process."""

import asyncio
import dataclasses
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from groundwork.core import lifecycle
from groundwork.core.config import Settings
from groundwork.core.lifecycle import Lifecycle
from tests.loop import eventually
from tests.servers import PATIENCE

STOPS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def server() -> Iterator[Mock]:
    """Install a mock in place of uvicorn's signal handlers."""
    handler = Mock()
    before = {number: signal.signal(number, handler) for number in STOPS}
    yield handler
    for number, found in before.items():
        signal.signal(number, found)


@pytest.fixture
def end(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Return an event that is set when the watchdog would force exit."""
    ended = threading.Event()
    monkeypatch.setattr(lifecycle, "_end", ended.set)
    return ended


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings with a short drain and grace."""
    return dataclasses.replace(settings, shutdown_drain_seconds=0.1, shutdown_grace_seconds=0.1)


@pytest.fixture
def patient(settings: Settings) -> Settings:
    """Return settings with a drain that no test waits for."""
    return dataclasses.replace(settings, shutdown_drain_seconds=2 * PATIENCE)


async def test_sigterm_is_passed_on_after_the_drain(
    settings: Settings, server: Mock, end: threading.Event
) -> None:
    """SIGTERM starts the drain at once, and reaches the server after it."""
    lifecycle, on_drain = Lifecycle(settings), Mock()
    with lifecycle.handle_signals(on_drain):
        lifecycle.started -= 1
        sent = time.monotonic()
        signal.raise_signal(signal.SIGTERM)
        await asyncio.sleep(0)
        assert (lifecycle.draining, on_drain.call_count, server.call_count) == (True, 1, 0)
        await eventually(lambda: server.called)

    assert time.monotonic() - sent > 0.08
    assert server.call_args.args[0] == signal.SIGTERM
    assert not end.is_set()


@pytest.mark.parametrize(("number", "age"), [(signal.SIGINT, 1), (signal.SIGTERM, -PATIENCE)])
async def test_some_signals_skip_the_drain(
    patient: Settings, server: Mock, monkeypatch: pytest.MonkeyPatch, number: int, age: float
) -> None:
    """SIGINT does, SIGTERM in the first second without a request too; so does the watchdog."""
    monkeypatch.setattr(threading, "Timer", timer := Mock())
    lifecycle = Lifecycle(patient)
    with lifecycle.handle_signals(Mock()):
        lifecycle.started -= age
        signal.raise_signal(number)
        await eventually(lambda: server.called)

    assert server.call_args.args[0] == number
    assert 0.1 < timer.call_args.args[0] < 0.1 + 3


async def test_an_instance_that_has_served_drains_at_any_age(
    settings: Settings, server: Mock, end: threading.Event
) -> None:
    """After a request, SIGTERM within a second of startup starts the drain too."""
    lifecycle = Lifecycle(settings)
    with lifecycle.handle_signals(Mock()):
        lifecycle.has_served = True
        sent = time.monotonic()
        signal.raise_signal(signal.SIGTERM)
        await eventually(lambda: server.called)

    assert time.monotonic() - sent > 0.08
    assert server.call_args.args[0] == signal.SIGTERM
    assert not end.is_set()


@pytest.mark.usefixtures("end")
async def test_without_a_thread_for_the_watchdog_it_shuts_down(
    settings: Settings, server: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system allows no more threads, the signal is not lost."""
    cannot_start = Mock(side_effect=RuntimeError("can't start new thread"))
    monkeypatch.setattr(threading.Timer, "start", cannot_start)
    with Lifecycle(settings).handle_signals(Mock()):
        signal.raise_signal(signal.SIGTERM)
        await eventually(lambda: server.called)

    assert cannot_start.called


async def test_a_second_signal_skips_the_drain(
    patient: Settings, server: Mock, end: threading.Event
) -> None:
    """A second SIGTERM reaches the server without waiting for the rest of the drain."""
    lifecycle = Lifecycle(patient)
    with lifecycle.handle_signals(Mock()):
        lifecycle.started -= 1
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
        await eventually(lambda: server.called)

    assert server.call_count == 1
    assert not end.is_set()


@pytest.mark.usefixtures("server")
async def test_the_watchdog_forces_exit(
    settings: Settings, end: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watchdog acts after drain, grace and a margin, and not before."""
    monkeypatch.setattr(lifecycle, "_MARGIN_SECONDS", 0.2)
    instance = Lifecycle(settings)
    with instance.handle_signals(Mock()):
        instance.started -= 1
        sent = time.monotonic()
        signal.raise_signal(signal.SIGTERM)

        watchdogs = [one for one in threading.enumerate() if isinstance(one, threading.Timer)]
        assert {one.daemon for one in watchdogs} == {True}  # they do not keep the process alive
        assert await asyncio.to_thread(end.wait, PATIENCE)
    assert time.monotonic() - sent > 0.1 + 0.1 + 0.1


@pytest.mark.usefixtures("end")
async def test_the_previous_handlers_are_restored(settings: Settings, server: Mock) -> None:
    """After the lifespan, the handlers installed before are in place again."""
    with Lifecycle(settings).handle_signals(Mock()):
        assert server not in {signal.getsignal(number) for number in STOPS}

    assert {signal.getsignal(number) for number in STOPS} == {server}


def test_a_forced_exit_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The watchdog logs at CRITICAL, flushes the log and exits with 1."""
    order = Mock()
    monkeypatch.setattr(os, "_exit", order.exit)
    monkeypatch.setattr(caplog.handler, "flush", order.flush)

    lifecycle._end()  # noqa: SLF001 - it would end this process as well

    assert [(entry.levelno, entry.name) for entry in caplog.records] == [
        (logging.CRITICAL, "groundwork.core.lifecycle")
    ]
    assert [call[0] for call in order.method_calls][-2:] == ["flush", "exit"]
    order.exit.assert_called_once_with(1)


def test_signal_handlers_stay_outside_the_main_thread(settings: Settings) -> None:
    """In another thread, which receives no signals, the handlers are left unchanged."""
    before, within = signal.getsignal(signal.SIGTERM), []

    def serve() -> None:
        with Lifecycle(settings).handle_signals(on_drain=Mock()):
            within.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()

    assert within == [before]
