"""A TCP proxy for fault injection, in a thread with its own event loop."""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

from tests.servers import PATIENCE, free_port

type Mode = Literal["pass", "refuse", "silent", "freeze", "reset"]

_RST = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close sends RST


class Proxy:
    """Forwards connections to PostgreSQL, in one of five modes.

    pass forwards, after `delay` seconds. refuse closes the port and every connection. silent cuts
    existing connections, and accepts new ones without a response. freeze forwards nothing but
    keeps connections open. reset sends RST.
    """

    def __init__(self, upstream: int) -> None:
        self.port = free_port()
        self._upstream = upstream
        self._delay = 0.0
        self._mode: Mode = "pass"
        self._flowing = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()
        self._frozen: set[asyncio.StreamWriter] = set()
        self._ended = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop

    def set(self, mode: Mode, delay: float = 0.0) -> None:
        """Change the mode."""
        self._call(self._set(mode, delay))

    def abandon(self) -> None:
        """Freeze existing connections for good and forward new ones, like a silent failover."""
        self._call(self._abandon())

    def redirect(self, upstream: int) -> None:
        """Forward new connections to another port; existing ones stay, as when an address moves."""
        self._upstream = upstream

    @contextmanager
    def running(self) -> Iterator["Proxy"]:
        """Run the proxy until the block ends."""
        ready = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._run(ready)), daemon=True)
        thread.start()
        ready.wait(PATIENCE)
        try:
            yield self
        finally:
            self._call(self._set("refuse", 0))
            self._loop.call_soon_threadsafe(self._ended.set)
            thread.join(PATIENCE)

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    async def _run(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        await self._set("pass", 0)
        ready.set()
        await self._ended.wait()

    async def _abandon(self) -> None:
        self._frozen |= self._clients

    async def _set(self, mode: Mode, delay: float) -> None:
        self._mode, self._delay = mode, delay
        if mode == "pass":
            self._flowing.set()
        else:
            self._flowing.clear()
        if mode in {"refuse", "silent", "reset"}:
            for client in tuple(self._clients):
                self._cut(client)
        if mode == "refuse" and self._server is not None:
            self._server.close()
            self._server = None
        elif mode != "refuse" and self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def _cut(self, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):  # the client may have closed it
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode == "reset":
            self._cut(writer)
            return
        self._clients.add(writer)
        # asyncio.streams of Python 3.12 reports an error for a cancelled connection task.
        with suppress(OSError, asyncio.CancelledError):
            await self._flowing.wait()
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
            pumps = {
                asyncio.create_task(self._pump(reader, up_writer, writer, late=True)),
                asyncio.create_task(self._pump(up_reader, writer, writer, late=False)),
            }
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                up_writer.transport.abort()
        writer.transport.abort()
        self._clients.discard(writer)
        self._frozen.discard(writer)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
        *,
        late: bool,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                if client in self._frozen:
                    await asyncio.Event().wait()
                if late:
                    await asyncio.sleep(self._delay)
                writer.write(data)
                await writer.drain()
