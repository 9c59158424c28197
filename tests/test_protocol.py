"""How the head of a response and its body are written."""

import asyncio
import weakref
from unittest.mock import Mock, call

import pytest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from groundwork.protocol import CoalescingTransport, Protocol
from tests.loop import eventually

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LONG = REQUEST[:-2] + b"X: " + b"x" * 80_000
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.fixture
def transport() -> Mock:
    """Return a transport that records its calls."""
    return Mock(asyncio.Transport, is_closing=Mock(return_value=False))


def connect(transport: Mock, application: ASGIApp | None = None, keep_alive: int = 75) -> Protocol:
    """Return the protocol of a connection to an application, else to one that responds at once."""
    transport.get_extra_info.return_value = None
    config = Config(application or Response(), log_config=None, timeout_keep_alive=keep_alive)
    config.load()
    protocol = Protocol(config, ServerState(), {})
    protocol.connection_made(transport)
    return protocol


async def test_head_and_body_are_one_packet(transport: Mock) -> None:
    """A head is written with the piece of the body that follows at once, and only then."""
    coalescing = CoalescingTransport(transport)
    for data in (HEAD, b"body", b"more", HEAD, b"second"):
        coalescing.write(data)
    await asyncio.sleep(0)

    written = [HEAD + b"body", b"more", HEAD + b"second"]
    assert transport.write.mock_calls == [call(one) for one in written]


async def test_a_large_body_is_not_copied(transport: Mock) -> None:
    """Clients that read slowly share the body that each of them waits for."""
    coalescing, body = CoalescingTransport(transport), b"x" * 100_000
    coalescing.write(HEAD)
    coalescing.write(body)
    await asyncio.sleep(0)

    assert transport.write.mock_calls == [call(HEAD), call(body)]
    assert transport.write.call_args.args[0] is body


async def test_a_head_does_not_wait_for_a_later_body(transport: Mock) -> None:
    """The head of an event stream is written before its first event comes."""
    CoalescingTransport(transport).write(HEAD)
    assert transport.write.mock_calls == []
    await asyncio.sleep(0)

    assert transport.write.mock_calls == [call(HEAD)]


async def test_a_response_to_head_is_written_at_once(transport: Mock) -> None:
    """A turn of the event loop later, a client that sends no more may have ended the connection."""
    connect(transport).data_received(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0)

    transport.write.assert_called_once()


async def test_pipelined_requests_wait_as_bytes(transport: Mock) -> None:
    """What a client sends at once is not parsed as a whole: each request takes a kilobyte."""
    protocol, resumed = connect(transport), []
    transport.resume_reading.side_effect = lambda: resumed.append(len(protocol.pipeline))
    protocol.data_received(REQUEST * 5000)
    waiting = [len(protocol.pipeline)]
    while protocol.pipeline:
        await asyncio.sleep(0)
        waiting.append(len(protocol.pipeline))

    await eventually(lambda: transport.write.call_count == 5000)
    assert max(waiting) < 400
    assert max(resumed) <= 8


@pytest.mark.parametrize("data", [b"\0" * 100_000, LONG + b"\0" * 100_000, LONG + b"\r\n\r\n"])
async def test_an_invalid_request_gets_one_response(transport: Mock, data: bytes) -> None:
    """After the piece of it that is invalid, or one too many, nothing is parsed, nor logged."""
    transport.is_closing.side_effect = lambda: transport.close.called
    connect(transport).data_received(data)

    transport.write.assert_called_once()
    transport.close.assert_called_once()


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
async def test_a_closed_connection_is_freed_at_once(
    transport: Mock, error: Exception | None
) -> None:
    """It waits neither for garbage collection, which is rare, nor for KEEP_ALIVE_SECONDS."""
    protocol = connect(transport)
    protocol.data_received(REQUEST)
    await eventually(lambda: transport.write.called)
    flow = weakref.ref(protocol.flow)
    protocol.connection_lost(error)
    del protocol

    assert flow() is None


async def test_a_head_is_written_before_the_connection_is_closed(transport: Mock) -> None:
    """The response to HEAD with `Connection: close` arrives."""
    coalescing = CoalescingTransport(transport)
    coalescing.write(HEAD)
    coalescing.close()

    assert transport.mock_calls[-2:] == [call.write(HEAD), call.close()]


async def test_nothing_is_written_to_a_closed_connection(transport: Mock) -> None:
    """A client that disconnects in between causes no error."""
    CoalescingTransport(transport).write(HEAD)
    transport.is_closing.return_value = True
    await asyncio.sleep(0)

    assert transport.write.mock_calls == []


@pytest.mark.parametrize("data", [b"", b"GE", REQUEST[:-2], REQUEST + b"GE"])
async def test_a_client_without_a_request_is_idle(transport: Mock, data: bytes) -> None:
    """A connection on which nothing comes, or part of a head, is closed as an idle one is."""
    connect(transport, keep_alive=0).data_received(data)

    await eventually(lambda: transport.close.called)


async def test_a_request_under_way_is_not_idle(transport: Mock) -> None:
    """A response may take longer than KEEP_ALIVE_SECONDS."""
    is_due = asyncio.Event()

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        await is_due.wait()
        await Response()(scope, receive, send)

    connect(transport, respond, keep_alive=0).data_received(REQUEST)
    await asyncio.sleep(0.01)
    assert not transport.close.called
    is_due.set()

    await eventually(lambda: transport.close.called)
