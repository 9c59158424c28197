"""Bounded waiting."""

import asyncio

import pytest

from groundwork.core.tasks import within


async def test_within_returns_what_comes_in_time() -> None:
    """Work that ends in time gives its result."""
    assert await within(1, asyncio.sleep(0, "done")) == "done"


async def test_within_does_not_wait_for_a_cancellation_that_hangs() -> None:
    """Work that resists its cancellation delays nobody."""
    released = asyncio.Event()

    async def stubborn() -> None:
        try:
            await released.wait()
        finally:
            await released.wait()

    with pytest.raises(TimeoutError, match=r"within 0\.010 s"):
        await within(0.01, stubborn())
    released.set()
