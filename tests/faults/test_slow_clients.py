"""Clients that never finish their request: each costs a descriptor and delays no other."""

import asyncio
import signal
from asyncio import StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path

from tests.faults.probes import Watch
from tests.servers import APP, NOISE, Server, serve, wait_until

CLIENTS = 500
HEAD = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
BEGUN = (
    b"",
    HEAD,
    HEAD + b"X-Slow: ",
    HEAD + b"Content-Length: 1000000\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n",
)


@asynccontextmanager
async def slow_clients(server: Server) -> AsyncIterator[None]:
    """Open CLIENTS connections that send part of a request, then one byte per second."""
    writers = [(await asyncio.open_connection("127.0.0.1", server.port))[1] for _ in range(CLIENTS)]
    for writer, begun in zip(writers, cycle(BEGUN), strict=False):
        writer.write(begun)
    dripping = asyncio.create_task(drip(writers))
    await asyncio.to_thread(wait_until, lambda: open_files(server) > CLIENTS)
    try:
        yield
    finally:
        dripping.cancel()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*(one.wait_closed() for one in writers), return_exceptions=True)


async def drip(writers: list[StreamWriter]) -> None:
    """Send one byte per second on each connection, except on every fifth, which stays silent."""
    while True:
        for number, writer in enumerate(writers):
            if number % len(BEGUN) and not writer.is_closing():
                writer.write(b"x")
            await asyncio.sleep(1 / CLIENTS)


def open_files(server: Server) -> int:
    """Return the number of open descriptors of the service."""
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


async def test_slow_clients_do_not_delay_probes(database_url: str) -> None:
    """With 500 incomplete requests open, liveness and readiness respond as fast as before."""
    with serve(APP, DATABASE_URL=database_url) as server:
        async with slow_clients(server):
            live, ready = (Watch(server.port, f"/health/{name}") for name in ("live", "ready"))
            await asyncio.sleep(4)
            await live.stop()
            await ready.stop()
            still_open = open_files(server)

    print(f"{CLIENTS} slow clients: live in {live.median():.4f} s, at worst {live.worst():.4f} s")
    assert still_open > CLIENTS
    assert not live.failures + ready.failures
    assert {response.status for response in live.responses + ready.responses} == {200}
    assert live.median() < 0.1
    assert max(live.worst(), ready.worst()) < 0.9 + NOISE


async def test_slow_clients_do_not_delay_shutdown(database_url: str) -> None:
    """With 500 incomplete requests open, the process exits within drain + grace + 3 s."""
    times = {"SHUTDOWN_DRAIN_SECONDS": "0.5", "SHUTDOWN_GRACE_SECONDS": "0.5"}
    with serve(APP, DATABASE_URL=database_url, **times) as server:
        async with slow_clients(server):
            sent = server.send(signal.SIGTERM)
            _, ended = await asyncio.to_thread(server.wait)

    print(f"{CLIENTS} slow clients: exit after {ended - sent:.2f} s, bound 4.0 s")
    assert ended - sent < 0.5 + 0.5 + 3 + NOISE
