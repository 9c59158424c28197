"""A TCP proxy, in its own process, that adds latency.

`python -m benchmarks.delay PORT UPSTREAM MILLISECONDS`: each round trip takes that much longer.
"""

import asyncio
import sys
from typing import cast

import uvloop


class End(asyncio.Protocol):
    """One end of a connection; forwards what it reads to the other end after `delay` seconds."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.other: asyncio.WriteTransport | None = None
        self.early: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        """Forward data after the delay, in order."""
        asyncio.get_running_loop().call_later(self.delay, self._write, data)

    def connection_lost(self, _: Exception | None) -> None:
        """Close the other end."""
        if self.other is not None:
            self.other.close()

    def join(self, other: asyncio.WriteTransport) -> None:
        """Connect this end to the other."""
        self.other = other
        for data in self.early:
            other.write(data)

    def _write(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
        elif not self.other.is_closing():
            self.other.write(data)


async def main(port: int, upstream: int, delay: float) -> None:
    """Serve until the process is stopped."""
    loop = asyncio.get_running_loop()
    connecting = set()

    class Front(End):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            # uvloop's transports do not subclass asyncio's.
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
