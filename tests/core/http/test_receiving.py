"""What a client sends, and that it has disconnected."""

import asyncio
from typing import Any
from unittest.mock import AsyncMock

import pytest
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from groundwork.core.http import receiving
from groundwork.core.http.receiving import Body, Client

SCOPE = {"type": "http", "headers": []}
PART = {"type": "http.request", "body": b"a", "more_body": True}
LAST = {"type": "http.request", "body": b"b"}
GONE = {"type": "http.disconnect"}
START = {"type": "http.response.start", "status": 200}
MORE = {"type": "http.response.body", "body": b"a", "more_body": True}


async def test_a_disconnect_is_seen_after_the_body() -> None:
    """What comes before it is kept for the handler, in order."""
    client = Client(SCOPE, AsyncMock(side_effect=[LAST, GONE, GONE]), AsyncMock())
    with pytest.raises(ClientDisconnect):
        await client.wait_for_disconnect()

    assert [await client.receive() for _ in range(2)] == [LAST, GONE]


async def test_a_body_under_way_is_left_to_the_handler() -> None:
    """While more of it is to come, no more than one part is held."""
    receive = AsyncMock(side_effect=[PART, LAST])
    client = Client(SCOPE, receive, AsyncMock())
    waiting = asyncio.create_task(client.wait_for_disconnect())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    waiting.cancel()

    assert receive.await_count == 1
    assert [await client.receive() for _ in range(2)] == [PART, LAST]


@pytest.mark.parametrize("part", [START, MORE])
async def test_a_disconnect_during_the_response_is_seen(part: dict[str, Any]) -> None:
    """What is still to be sent has lost its client."""
    client = Client(SCOPE, AsyncMock(side_effect=[LAST, GONE]), AsyncMock())
    await client.send(part)

    with pytest.raises(ClientDisconnect):
        await asyncio.wait_for(client.wait_for_disconnect(), 1)


async def test_work_after_the_response_goes_on() -> None:
    """A BackgroundTask that waits for a connection has lost no client when the response ends."""
    client = Client(SCOPE, AsyncMock(side_effect=[LAST, GONE]), AsyncMock())
    await Response("a")({"type": "http"}, client.receive, client.send)
    waiting = asyncio.create_task(client.wait_for_disconnect())
    await asyncio.sleep(0.01)

    assert not waiting.done()
    waiting.cancel()


async def test_a_response_that_has_started_goes_on() -> None:
    """A stream reads to notice a disconnect; a large body that its handler ignores ends nothing."""
    scope = {"type": "http", "headers": [(b"content-length", b"9999999")]}
    client = Client(scope, AsyncMock(side_effect=[LAST]), AsyncMock())
    await client.send(START)

    assert await client.receive() == LAST


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_body_that_does_not_end_costs_no_response(
    monkeypatch: pytest.MonkeyPatch, *, is_cancelled: bool
) -> None:
    """The response goes on after a limited time, or when the shutdown cancels the request."""
    monkeypatch.setattr(receiving, "_DISCARD_SECONDS", 60 if is_cancelled else 0.01)
    body = Body(AsyncMock(side_effect=asyncio.Event().wait))
    discarding = asyncio.create_task(body.discard())
    await asyncio.sleep(0)
    if is_cancelled:
        discarding.cancel()

    await asyncio.wait_for(discarding, 1)

    assert body.has_more
