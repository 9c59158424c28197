"""The lag of the event loop, and the stack that blocks it."""

import asyncio
import logging
import threading
import time

import pytest
from prometheus_client import REGISTRY

from groundwork.core.observability import event_loop
from groundwork.core.observability.event_loop import LoopMonitor
from groundwork.core.tasks import background
from tests.loop import eventually
from tests.servers import wait_until


def longest() -> float:
    """Return the longest lag that a scrape has now."""
    return REGISTRY.get_sample_value("groundwork_event_loop_lag_max_seconds") or 0.0


def block_the_loop(seconds: float) -> None:
    """Block the loop, as a handler does that computes or reads a file."""
    time.sleep(seconds)


def watching() -> set[threading.Thread]:
    """Return the threads that look for what blocks a loop."""
    return {one for one in threading.enumerate() if one.name.endswith("(_watch)")}


async def test_a_blocked_loop_is_measured() -> None:
    """The longest lag is exported, and the sum of all."""
    total = "groundwork_event_loop_lag_seconds_sum"
    before = REGISTRY.get_sample_value(total) or 0.0
    monitor = LoopMonitor()
    async with background(monitor.run()):
        await asyncio.sleep(0.01)
        block_the_loop(0.3)
        await asyncio.sleep(0.01)
        lag = monitor.lags[-1]
        await asyncio.sleep(0.1)  # later callbacks are on time

    assert 0.2 < longest() < 5
    assert 0.2 < lag < 5
    assert 0.2 < monitor.blocked_seconds < 5
    after = REGISTRY.get_sample_value(total) or 0.0
    assert after > before + 0.2
    await asyncio.sleep(0.1)
    assert REGISTRY.get_sample_value(total) == after  # nothing is measured any more


async def test_a_block_counts_at_once() -> None:
    """What runs first after a block knows of it, such as a check that has timed out."""
    monitor = LoopMonitor()
    async with background(monitor.run()):
        assert monitor.blocked_seconds == 0
        await asyncio.sleep(0.01)
        assert monitor.blocked_seconds >= 0
        block_the_loop(0.3)
        assert 0.2 < monitor.blocked_seconds < 5


async def test_the_longest_lag_is_exported_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape does not use it up: one that timed out because of it is not the last."""
    monkeypatch.setattr(event_loop, "_LAGS", 10)
    async with background(LoopMonitor().run()):
        await asyncio.sleep(0.01)
        block_the_loop(0.4)
        await asyncio.sleep(0.1)
        assert [longest() > 0.2, longest() > 0.2] == [True, True]
        await eventually(lambda: longest() < 0.3)


async def test_a_loop_that_runs_is_not_blocked() -> None:
    """What takes a moment is no block."""
    monitor, late = LoopMonitor(), 0.0
    async with background(monitor.run()):
        for _ in range(20):
            began = time.monotonic()
            await asyncio.sleep(0.005)
            late += time.monotonic() - began - 0.005  # on a busy machine

    assert monitor.blocked_seconds < late + 0.1


async def test_who_blocks_the_loop_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One warning for each block, with the stack that holds the loop."""
    monkeypatch.setattr(event_loop, "_LOG_SECONDS", 0.1)
    caplog.set_level(logging.WARNING)

    def blocks() -> int:
        lines = [one for one in caplog.records if one.getMessage() == "event loop blocked"]
        return sum("block_the_loop" in str(one.stack_info) for one in lines)

    def block_the_loop() -> None:
        before = blocks()
        wait_until(lambda: blocks() > before)
        time.sleep(0.3)  # it is logged once

    async with background(LoopMonitor().run()):
        for _ in range(2):
            await asyncio.sleep(0.1)
            block_the_loop()

    assert blocks() == 2


async def test_a_level_above_warning_needs_no_thread(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With LOG_LEVEL=error no line is logged, and nothing looks for what blocks the loop."""
    monkeypatch.setattr(event_loop, "_LOG_SECONDS", 0.1)
    caplog.set_level(logging.ERROR)
    before = watching()
    async with background(LoopMonitor().run()):
        await asyncio.sleep(0.1)
        block_the_loop(0.3)
        assert watching() <= before  # others may end meanwhile

    assert caplog.records == []


async def test_the_thread_that_watches_ends_with_its_loop() -> None:
    """Nor does it keep the process alive until then."""
    before = watching()
    async with background(LoopMonitor().run()):
        await asyncio.sleep(0.01)
        (thread,) = watching() - before
    await asyncio.to_thread(thread.join, 5)

    assert (thread.daemon, thread.is_alive()) == (True, False)
