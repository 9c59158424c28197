"""What a client sends: its body, and that it has disconnected."""

import asyncio
from collections import deque

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive


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
