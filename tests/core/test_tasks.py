"""Background tasks and timeouts."""

import asyncio
import gc
from unittest.mock import Mock

import pytest

from groundwork.core.observability.logging import request_id
from groundwork.core.tasks import background, run_with_timeout, spawn


async def test_a_result_in_time_is_returned() -> None:
    """A coroutine that ends within the timeout returns its result."""
    assert await run_with_timeout(1, asyncio.sleep(0, "done")) == "done"


@pytest.mark.parametrize("turns", [1, 9])
async def test_turns_share_a_timeout(turns: int) -> None:
    """A timeout of several turns is as long as that of one."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(TimeoutError):
        await run_with_timeout(0.2, asyncio.sleep(5), turns=turns)

    assert 0.15 < loop.time() - started < 4


async def test_a_cancellation_that_hangs_is_not_awaited() -> None:
    """The timeout holds for a coroutine that resists cancellation."""
    released = asyncio.Event()

    async def stubborn() -> None:
        try:
            await released.wait()
        finally:
            await released.wait()

    with pytest.raises(TimeoutError, match=r"within 0\.010 s"):
        await run_with_timeout(0.01, stubborn())
    released.set()


async def test_an_exception_of_a_background_task_is_not_reported() -> None:
    """The exception of a spawned task is not reported as never retrieved."""
    loop, reported = asyncio.get_running_loop(), Mock()
    loop.set_exception_handler(reported)
    spawn(asyncio.wait_for(asyncio.sleep(1), 0))

    await asyncio.sleep(0.05)
    gc.collect()

    loop.set_exception_handler(None)
    reported.assert_not_called()


async def test_work_in_the_background_ends_with_its_block(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is cancelled and awaited, and one that failed before is logged."""
    ended: list[str] = []

    async def fail() -> None:
        message = "no more jobs"
        raise ValueError(message)

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            ended.append("work")

    async with background(fail(), work()):
        await asyncio.sleep(0.01)

    assert ended == ["work"]
    assert [str(one.exc_info[1]) for one in caplog.records if one.exc_info] == ["no more jobs"]


async def test_a_background_task_belongs_to_no_request() -> None:
    """A connection that a request had the pool open outlives it, and serves others."""

    async def work() -> str | None:
        return request_id.get()

    token = request_id.set("interrupted")
    found = await spawn(work())
    request_id.reset(token)

    assert found is None


async def test_what_a_request_waits_for_belongs_to_it() -> None:
    """The log line of a slow query has the ID of the request that set the timeout."""

    async def work() -> str | None:
        return request_id.get()

    token = request_id.set("waiting")
    found = await run_with_timeout(1, work())
    request_id.reset(token)

    assert found == "waiting"
