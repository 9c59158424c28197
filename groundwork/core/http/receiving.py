"""What a client sends: its body, and that it has disconnected."""

import asyncio
from collections import deque

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groundwork.core.database.waiters import client_disconnect


class Receiving:
    """The request's messages; while it waits, a disconnected client can be noticed."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._read = deque[Message]()

    async def __call__(self) -> Message:
        """Return the next message."""
        return self._read.popleft() if self._read else await self._receive()

    async def wait_for_disconnect(self) -> None:
        """Wait until the client disconnects, which is seen once its body has come.

        Raises:
            ClientDisconnect: it has.
        """
        while not self._read or not self._read[-1].get("more_body"):
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            self._read.append(message)
        await asyncio.get_running_loop().create_future()  # the rest is for the handler to read


class DisconnectWatch:
    """Lets whatever waits for a connection of the pool notice that its client has disconnected."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        receiving = Receiving(receive)
        token = client_disconnect.set(receiving.wait_for_disconnect)
        try:
            await self.app(scope, receiving, send)
        finally:
            client_disconnect.reset(token)
