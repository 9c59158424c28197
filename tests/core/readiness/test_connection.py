"""The readiness check's own connection, over connections that do as they are told."""

import asyncio
import time
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from groundwork.core.readiness import connection as check_connection
from groundwork.core.readiness.connection import CheckConnection


def connection(*answers: object) -> Mock:
    """Return a connection that gives these answers, or raises them."""
    return Mock(fetchrow=AsyncMock(side_effect=answers), is_closed=Mock(return_value=False))


def faithful() -> Mock:
    """Return a connection that always answers, and with itself."""
    fake = Mock()
    fake.fetchrow = AsyncMock(return_value=fake)
    return fake


async def never(*_: object) -> Any:
    """Give no answer."""
    await asyncio.Event().wait()


def soon() -> float:
    """Return a deadline that is near."""
    return time.monotonic() + 0.02


def late() -> float:
    """Return a deadline that nothing here should come near."""
    return time.monotonic() + 5


async def test_a_connection_is_kept_while_it_answers() -> None:
    """It is opened once, replaced where it fails, and that it went stale is told of that once."""
    stale, new = (
        connection("first", ConnectionResetError()),
        connection("second", "third", "fourth"),
    )
    check = CheckConnection(AsyncMock(side_effect=[stale, new]), 5)

    told: list[object] = [(await check.ask(late()), check.reconnected) for _ in range(4)]

    assert told == [("first", False), ("second", True), ("third", False), ("fourth", False)]
    stale.terminate.assert_called_once_with()
    new.terminate.assert_not_called()


async def test_only_a_kept_connection_can_be_lost() -> None:
    """The end of the one it keeps is told, until the next question finds out."""
    kept = connection("first", ConnectionResetError())
    check = CheckConnection(AsyncMock(side_effect=[kept, OSError()]), 5)
    told = [check.is_lost()]

    await check.ask(late())
    for closed in (False, True):
        kept.is_closed.return_value = closed
        told.append(check.is_lost())
    with pytest.raises(OSError):  # noqa: PT011 - the fake's
        await check.ask(late())

    assert [*told, check.is_lost()] == [False, False, True, False]


async def test_an_attempt_outlives_its_check() -> None:
    """A connect that takes longer than a check gives its answer to a later one."""
    gate = asyncio.Event()
    attempts: list[asyncio.Task[Any] | None] = []

    async def connect() -> Any:
        attempts.append(asyncio.current_task())
        await (gate.wait() if len(attempts) == 1 else never())
        return connection("row")

    check = CheckConnection(connect, 5)
    for _ in range(3):
        with pytest.raises(TimeoutError, match="no answer in time"):
            await check.ask(soon())
    await asyncio.sleep(0)
    assert [attempt.done() for attempt in attempts if attempt] == [False, True, True]

    gate.set()
    async with asyncio.timeout(2):
        answer: object = await check.ask(late())
    assert answer == "row"


async def test_a_question_without_an_answer_is_withdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection has a moment to tell the server, and is closed then."""
    monkeypatch.setattr(check_connection, "_CANCEL_SECONDS", 0.05)
    silent = Mock(fetchrow=AsyncMock(side_effect=never))
    check = CheckConnection(AsyncMock(return_value=silent), 0.01)

    with pytest.raises(TimeoutError):
        await check.ask(late())

    silent.terminate.assert_not_called()
    await asyncio.sleep(0.2)
    silent.terminate.assert_called_once_with()


async def test_closing_ends_what_is_kept() -> None:
    """The connection that waits for the next check is closed."""
    kept = connection("row")
    check = CheckConnection(AsyncMock(return_value=kept), 5)
    await check.ask(late())

    check.close()

    kept.terminate.assert_called_once_with()


async def test_closing_ends_an_attempt_under_way() -> None:
    """A connect that goes on without its check goes on no longer."""
    before = asyncio.all_tasks()
    check = CheckConnection(AsyncMock(side_effect=never), 5)
    with pytest.raises(TimeoutError):
        await check.ask(soon())

    check.close()
    await asyncio.sleep(0)

    assert asyncio.all_tasks() == before


async def test_a_patient_attempt_that_fails_leaves_the_fresh_one_its_time() -> None:
    """The check waits on for the attempt of its own."""
    late, fresh = asyncio.Event(), faithful()

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
    up, made = asyncio.Event(), [faithful(), faithful()]

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


async def test_close_terminates_a_connection_whose_query_hangs() -> None:
    """A query that has timed out has a second to be cancelled, but not after close."""
    hung = Mock(fetchrow=never, is_closed=Mock(return_value=False))
    check = CheckConnection(AsyncMock(return_value=hung), 5)
    with pytest.raises(TimeoutError):
        await check.ask(soon())
    hung.terminate.assert_not_called()

    check.close()

    hung.terminate.assert_called_once_with()
