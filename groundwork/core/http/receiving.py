"""What a client sends: its body up to a limit, and that it has disconnected."""

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groundwork.core.database.waiters import client_disconnect
from groundwork.core.http.responses import problem

MAX_BODY_BYTES = 1024 * 1024
_TOO_LARGE = "The request body is larger than 1 MiB."
_CLOSE = {"Connection": "close"}  # the rest of the body is not read


class Receiving:
    """The request's messages; while it waits, a disconnected client can be noticed."""

    __slots__ = ("_read", "_receive", "_size", "is_answered")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._read: list[Message] = []
        self._size = 0
        self.is_answered = False

    async def __call__(self) -> Message:
        """Return the next message, or raise 413 once the body is over MAX_BODY_BYTES."""
        message = self._read.pop(0) if self._read else await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > MAX_BODY_BYTES:
            raise HTTPException(413, _TOO_LARGE, _CLOSE)
        return message

    async def wait_for_disconnect(self) -> None:
        """Wait until the client disconnects, which is seen once its body has come.

        After the response a server says so of each client, and work in the background goes on.

        Raises:
            ClientDisconnect: it has.
        """
        while not self._read or not self._read[-1].get("more_body"):
            message = await self._receive()
            if message["type"] == "http.disconnect":
                if self.is_answered:
                    break
                raise ClientDisconnect
            self._read.append(message)
        await asyncio.get_running_loop().create_future()  # the rest is for the handler to read


class ClientLimits:
    """Rejects bodies over MAX_BODY_BYTES: by Content-Length at once, else while they arrive.

    What waits for a connection of the pool notices that its client has disconnected.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or respond with 413 and close the connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if _content_length(scope) > MAX_BODY_BYTES:
            await problem(scope, 413, _TOO_LARGE, _CLOSE)(scope, receive, send)
            return
        receiving = Receiving(receive)

        async def send_noting_end(message: Message) -> None:
            is_body = message["type"] == "http.response.body"
            receiving.is_answered = is_body and not message.get("more_body")
            await send(message)

        token = client_disconnect.set(receiving.wait_for_disconnect)
        try:
            await self.app(scope, receiving, send_noting_end)
        finally:
            client_disconnect.reset(token)


def _content_length(scope: Scope) -> int:
    """Return Content-Length, 0 if it is not a number."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            # Cut, as int() raises on thousands of digits, even zeros.
            return int(value.lstrip(b"0")[:20] or 0)
    return 0
