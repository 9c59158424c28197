"""The client of a request: its body up to a limit, and whether it has disconnected."""

import asyncio
import re
from contextlib import suppress

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

MAX_BODY_BYTES = 1024 * 1024  # Starlette has such a limit, whose 413 is plain text
_CONTROL = re.compile(rb"[\x00-\x08\n-\x1f\x7f]")
_DISCARD_SECONDS = 2.0  # how long an unread body is read and discarded


class Client:
    """Both sides of a request; a wait for a connection ends when the client disconnects."""

    __slots__ = ("_ended", "_read", "_receive", "_scope", "_send", "_size", "started")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._read: list[Message] = []
        self._size = 0
        self.started = self._ended = False  # the response

    async def receive(self) -> Message:
        """Return the next message, or raise 413 if the body is over the limit of the route."""
        declared = dict(self._scope["headers"]).get(b"content-length", b"")
        self._check(float(declared) if declared.isdigit() else 0)
        message = self._read.pop(0) if self._read else await self._receive()
        self._size += len(message.get("body", b""))
        self._check(self._size)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the response; raise ValueError for a header that no server sends."""
        for name, value in message.get("headers", ()):
            if _CONTROL.search(value):
                text = f"the response header {name.decode()} has a control character"
                raise ValueError(text)
        self.started = True
        self._ended = message["type"] == "http.response.body" and not message.get("more_body")
        await self._send(message)

    async def wait_for_disconnect(self) -> None:
        """Wait until the client disconnects, which is seen once its body has come.

        After the response a server says so of each client, and work in the background goes on.

        Raises:
            ClientDisconnect: it has.
        """
        while not self._read or not self._read[-1].get("more_body"):
            message = await self._receive()
            if message["type"] == "http.disconnect":
                if self._ended:
                    break
                raise ClientDisconnect
            self._read.append(message)
        await asyncio.get_running_loop().create_future()  # the rest is for the handler to read

    def _check(self, size: float) -> None:
        declared = getattr(self._scope.get("endpoint"), "operation", None)
        limit = getattr(declared, "max_body_size", MAX_BODY_BYTES)
        if size > limit and not self.started:
            # Closed, as the body may be longer than what is discarded.
            detail = f"The request body is larger than {limit} bytes."
            raise HTTPException(413, detail, {"Connection": "close"})


class Body:
    """The body of a request; what no handler reads has to be discarded before the response ends.

    If the server closed the connection first, it would be reset, and the response lost on the way
    (RFC 9112, 9.6). nginx takes that for a broken server, and sends it no requests for ten seconds.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.has_more = True

    async def receive(self) -> Message:
        """Return the next message."""
        message = await self._receive()
        self.has_more = message.get("more_body", False)
        return message

    async def discard(self) -> None:
        """Read to the end, for a limited time; the response goes on when the task is cancelled."""
        with suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(_DISCARD_SECONDS):
                while self.has_more:
                    await self.receive()
