"""Concurrent, timed requests over plain sockets, so that the client adds little time."""

import asyncio
import json
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.servers import PATIENCE


@dataclass(frozen=True)
class Response:
    """A response, the time of its request, and its duration in seconds."""

    sent: float
    seconds: float
    status: int
    body: dict[str, Any]

    @property
    def reason(self) -> str | None:
        """Return the reason in the body, if any."""
        reason: str | None = self.body.get("reason")
        return reason


async def get(port: int, path: str = "/health/ready") -> Response:
    """Send one request on its own connection."""
    sent = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        response = await reader.read()
    finally:
        writer.close()
    head, _, body = response.partition(b"\r\n\r\n")
    seconds = time.monotonic() - sent
    return Response(sent, seconds, int(head.split()[1]), json.loads(body))


async def begin(port: int, path: str) -> asyncio.Task[Response]:
    """Send a request that takes long, and return when the service has it."""

    async def requests() -> int:
        return int((await get(port, "/tasks")).body["requests"])

    before = await requests()
    sent = asyncio.create_task(get(port, path))
    async with asyncio.timeout(PATIENCE):
        while await requests() <= before:
            await asyncio.sleep(0.02)
    return sent


async def burst(
    port: int, path: str = "/health/ready", total: int = 50, at_once: int = 20
) -> list[Response]:
    """Send `total` requests, `at_once` at a time."""
    turns = asyncio.Semaphore(at_once)

    async def one() -> Response:
        async with turns:
            return await get(port, path)

    return await asyncio.gather(*(one() for _ in range(total)))


async def until(port: int, status: int, reason: str | None = None, patience: float = 15) -> float:
    """Send requests until the response is as expected; return the seconds it took."""
    started = time.monotonic()
    while True:
        response = await get(port)
        if (response.status, response.reason) == (status, reason):
            return time.monotonic() - started
        if time.monotonic() - started > patience:
            message = f"still {response} after {patience} s"
            raise TimeoutError(message)
        await asyncio.sleep(0.02)


class Watch:
    """Requests a path repeatedly in the background, and keeps the responses."""

    def __init__(self, port: int, path: str, pause: float = 0.02) -> None:
        self.responses: list[Response] = []
        self.failures: list[tuple[float, Exception]] = []
        self._task = asyncio.create_task(self._send(port, path, pause))

    async def _send(self, port: int, path: str, pause: float) -> None:
        while True:
            try:
                self.responses.append(await get(port, path))
            except (OSError, IndexError, ValueError) as error:
                self.failures.append((time.monotonic(), error))
            await asyncio.sleep(pause)

    async def stop(self) -> None:
        """Send no more requests."""
        self._task.cancel()
        await asyncio.wait({self._task})

    def worst(self) -> float:
        """Return the longest duration, in seconds."""
        return max(response.seconds for response in self.responses)

    def median(self) -> float:
        """Return the median duration, in seconds."""
        return median(response.seconds for response in self.responses)
