"""Many probes at once, timed, over bare sockets so that the client is not what takes the time."""

import asyncio
import json
import time
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Answer:
    """One answer: when it was asked for, how long it took in seconds, and what it was."""

    asked: float
    seconds: float
    status: int
    body: dict[str, Any]

    @property
    def reason(self) -> str | None:
        """Return why not, if it says so."""
        reason: str | None = self.body.get("reason")
        return reason


async def get(port: int, path: str = "/health/ready") -> Answer:
    """Ask once, on a connection of its own."""
    asked = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    seconds = time.monotonic() - asked
    return Answer(asked, seconds, int(head.split()[1]), json.loads(body))


async def burst(
    port: int, path: str = "/health/ready", total: int = 50, at_once: int = 20
) -> list[Answer]:
    """Ask `total` times, `at_once` at a time."""
    turns = asyncio.Semaphore(at_once)

    async def one() -> Answer:
        async with turns:
            return await get(port, path)

    return await asyncio.gather(*(one() for _ in range(total)))


async def until(port: int, status: int, reason: str | None = None, patience: float = 15) -> float:
    """Ask until the answer is as expected; return the seconds that took."""
    started = time.monotonic()
    while True:
        answer = await get(port)
        if (answer.status, answer.reason) == (status, reason):
            return time.monotonic() - started
        if time.monotonic() - started > patience:
            message = f"still {answer} after {patience} s"
            raise TimeoutError(message)
        await asyncio.sleep(0.02)


class Watch:
    """Asks a path again and again in the background, and keeps the answers."""

    def __init__(self, port: int, path: str, pause: float = 0.02) -> None:
        self.answers: list[Answer] = []
        self.failures: list[tuple[float, Exception]] = []
        self._task = asyncio.create_task(self._ask(port, path, pause))

    async def _ask(self, port: int, path: str, pause: float) -> None:
        while True:
            try:
                self.answers.append(await get(port, path))
            except (OSError, IndexError, ValueError) as error:
                self.failures.append((time.monotonic(), error))
            await asyncio.sleep(pause)

    async def stop(self) -> None:
        """Ask no more."""
        self._task.cancel()
        await asyncio.wait({self._task})

    def worst(self) -> float:
        """Return the longest answer, in seconds."""
        return max(answer.seconds for answer in self.answers)

    def median(self) -> float:
        """Return the median answer, in seconds."""
        return median(answer.seconds for answer in self.answers)
