"""Two attempts at once, in each order that they can end in."""

import asyncio
import time
from unittest.mock import AsyncMock, Mock

import pytest

from groundwork.core.check_connection import CheckConnection


def connection() -> Mock:
    """Return a connection that answers itself."""
    fake = Mock()
    fake.fetchrow = AsyncMock(return_value=fake)
    return fake


async def test_a_patient_attempt_that_fails_leaves_the_fresh_one_its_time() -> None:
    """The check waits on for the attempt of its own."""
    late, fresh = asyncio.Event(), connection()

    async def fail_late() -> None:
        await late.wait()
        raise ConnectionResetError

    async def connect_later() -> Mock:
        late.set()
        await asyncio.sleep(0.05)
        return fresh

    check = CheckConnection(Mock(side_effect=[fail_late(), connect_later()]), 20)
    with pytest.raises(TimeoutError):
        await check.ask(time.monotonic() + 0.01)

    assert await check.ask(time.monotonic() + 20) is fresh


async def test_of_two_that_connect_at_once_one_is_kept() -> None:
    """The other one is closed, so that nothing is left behind."""
    up, made = asyncio.Event(), [connection(), connection()]

    async def connect(number: int) -> Mock:
        await up.wait()
        return made[number]

    check = CheckConnection(Mock(side_effect=[connect(0), connect(1)]), 20)
    with pytest.raises(TimeoutError):
        await check.ask(time.monotonic() + 0.01)
    asyncio.get_running_loop().call_soon(up.set)
    await check.ask(time.monotonic() + 20)
    kept = await check.ask(time.monotonic() + 20)

    assert [one.terminate.called for one in made] == [one is not kept for one in made]


async def test_a_slow_attempt_outlives_its_check() -> None:
    """However many checks it takes, it is awaited beside each one's own, and wins in the end."""
    up, slow = asyncio.Event(), connection()

    async def connect() -> Mock:
        await up.wait()
        return slow

    check = CheckConnection(Mock(side_effect=[connect(), *(never() for _ in range(2))]), 20)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await check.ask(time.monotonic() + 0.01)
    up.set()

    assert await check.ask(time.monotonic() + 20) is slow


async def test_a_stale_connection_is_replaced_within_the_check() -> None:
    """What the server has cut costs no answer, is told of, and is let go."""
    stale, fresh = connection(), connection()
    check = CheckConnection(AsyncMock(side_effect=[stale, fresh]), 20)
    await check.ask(time.monotonic() + 20)
    stale.fetchrow.side_effect = ConnectionResetError

    assert await check.ask(time.monotonic() + 20) is fresh
    assert (check.went_stale, stale.terminate.called) == (True, True)
    check.close()
    assert fresh.terminate.called


async def never() -> Mock:
    """Connect to a host that swallows everything."""
    await asyncio.Event().wait()
    raise AssertionError
