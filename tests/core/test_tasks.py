"""Bounded waiting."""

import asyncio
import gc
from unittest.mock import Mock

import pytest

from groundwork.core.tasks import run_with_timeout, spawn


async def test_within_returns_what_comes_in_time() -> None:
    """Work that ends in time gives its result."""
    assert await run_with_timeout(1, asyncio.sleep(0, "done")) == "done"


async def test_within_does_not_wait_for_a_cancellation_that_hangs() -> None:
    """Work that resists its cancellation delays nobody."""
    released = asyncio.Event()

    async def stubborn() -> None:
        try:
            await released.wait()
        finally:
            await released.wait()

    with pytest.raises(TimeoutError, match=r"within 0\.010 s"):
        await run_with_timeout(0.01, stubborn())
    released.set()


async def test_a_failure_that_nobody_waits_for_is_not_reported() -> None:
    """What a task raises, asyncio reports unless somebody has looked; so somebody has."""
    loop, reported = asyncio.get_running_loop(), Mock()
    loop.set_exception_handler(reported)
    spawn(asyncio.wait_for(asyncio.sleep(1), 0))

    await asyncio.sleep(0.05)
    gc.collect()

    loop.set_exception_handler(None)
    reported.assert_not_called()
