"""A TCP proxy, in a process of its own, that puts its upstream so many ms away.

`python -m benchmarks.delay PORT UPSTREAM MILLISECONDS`: a round trip takes that much longer.
"""

import asyncio
import sys
from typing import cast

import uvloop


class End(asyncio.Protocol):
    """One end of a connection; what it reads goes to the other end, `delay` seconds later."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.other: asyncio.WriteTransport | None = None
        self.early: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        """Pass it on, in order, however much is under way."""
        asyncio.get_running_loop().call_later(self.delay, self._write, data)

    def connection_lost(self, _: Exception | None) -> None:
        """End the other end as well."""
        if self.other is not None:
            self.other.close()

    def join(self, other: asyncio.WriteTransport) -> None:
        """Name the other end."""
        self.other = other
        for data in self.early:
            other.write(data)

    def _write(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
        elif not self.other.is_closing():
            self.other.write(data)


async def main(port: int, upstream: int, delay: float) -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    connecting = set()

    class Front(End):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            # uvloop's transports are of no class of asyncio's.
            task = asyncio.create_task(self._connect(cast("asyncio.WriteTransport", transport)))
            connecting.add(task)
            task.add_done_callback(connecting.discard)

        async def _connect(self, transport: asyncio.WriteTransport) -> None:
            back, peer = await loop.create_connection(lambda: End(0), "127.0.0.1", upstream)
            peer.join(transport)
            self.join(back)

    server = await loop.create_server(lambda: Front(delay), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) / 1000))
