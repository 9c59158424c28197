"""What a client sends, and that it has disconnected."""

import asyncio
from unittest.mock import AsyncMock

import pytest
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from groundwork.core.database.waiters import client_disconnect
from groundwork.core.http.receiving import ClientLimits, Receiving

PART = {"type": "http.request", "body": b"a", "more_body": True}
LAST = {"type": "http.request", "body": b"b"}
GONE = {"type": "http.disconnect"}


async def test_a_disconnect_is_seen_after_the_body() -> None:
    """What comes before it is kept for the handler, in order."""
    receiving = Receiving(AsyncMock(side_effect=[LAST, GONE, GONE]))
    with pytest.raises(ClientDisconnect):
        await receiving.wait_for_disconnect()

    assert [await receiving() for _ in range(2)] == [LAST, GONE]


async def test_a_body_under_way_is_left_to_the_handler() -> None:
    """While more of it is to come, no more than one part is held."""
    receive = AsyncMock(side_effect=[PART, LAST])
    receiving = Receiving(receive)
    waiting = asyncio.create_task(receiving.wait_for_disconnect())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    waiting.cancel()

    assert receive.await_count == 1
    assert [await receiving() for _ in range(2)] == [PART, LAST]


async def test_work_after_the_response_goes_on() -> None:
    """A BackgroundTask that waits for a connection has lost no client when the response ends."""
    ended: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("a")(scope, receive, send)
        watch = client_disconnect.get()
        assert watch
        waiting = asyncio.create_task(watch())
        await asyncio.sleep(0.01)
        ended.append(waiting.done())
        waiting.cancel()

    receive = AsyncMock(side_effect=[LAST, GONE])
    await ClientLimits(app)({"type": "http", "headers": []}, receive, AsyncMock())

    assert ended == [False]
