"""More connections than a core can serve: what succeeds, what is refused, and what probes see.

`python -m benchmarks.overload PORT PATH CONNECTIONS SECONDS` is the load, in its own process: each
connection sends its next request when it has a response, after a 503 when Retry-After is over.
"""

import asyncio
import gc
import json
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, override

import uvloop

from benchmarks.load import spread, wait_until_idle
from benchmarks.machine import cpu_seconds, memory
from benchmarks.servers import Server, get

PATH = "/notes"
SATURATING = 32  # connections; the CPU column shows whether they saturate a core
FACTORS = (1, 2, 5, 10, 20)
HEADER = (
    *("", "connections", "200/s", "p50 ms", "p99 ms", "503/s", "ms to a 503", "errors"),
    *("live: worst ms", "ready: worst ms", "probes not 200", "CPU", "MiB", "back to normal, s"),
)
_NORMAL_SECONDS = 0.05  # a single request on an idle server takes a tenth of it


@dataclass(frozen=True)
class Surge:
    """One round: per second, milliseconds (worst for probes), a share of a core, MiB, seconds."""

    goodput: float
    p50: float
    p99: float
    refusals: float
    refusal: float
    errors: int
    live: float
    ready: float
    wrong: int
    cpu: float
    memory: float
    recovery: float


def surge(server: Server, connections: int, seconds: float) -> Surge:
    """Send load from another process, and probes beside it."""
    arguments = [str(server.port), PATH, str(connections), str(seconds)]
    used, probes = cpu_seconds(server.pid), defaultdict[str, list[float]](list)
    command = [sys.executable, "-m", "benchmarks.overload", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as load:
        while load.poll() is None:
            for path in ("/health/live", "/health/ready"):
                status, took = _timed(server.port, path)
                probes[path if status == 200 else "wrong"].append(took)
            time.sleep(0.05)
        assert load.stdout is not None  # noqa: S101 - it is a pipe
        found = json.loads(load.stdout.read())
    used = cpu_seconds(server.pid) - used
    recovery = _recovery(server.port)
    wait_until_idle(server.pid)
    return Surge(
        **found,
        live=max(probes["/health/live"], default=0),
        ready=max(probes["/health/ready"], default=0),
        wrong=len(probes["wrong"]),
        cpu=used / seconds,
        memory=memory(server.pid),
        recovery=recovery,
    )


def _timed(port: int, path: str) -> tuple[int, float]:
    started = time.perf_counter()
    return get(port, path), 1000 * (time.perf_counter() - started)


def _recovery(port: int) -> float:
    """Return the seconds until a request succeeds in normal time; 10 at most."""
    started = time.perf_counter()
    while (waited := time.perf_counter() - started) < 10:
        status, took = _timed(port, PATH)
        if status == 200 and took < 1000 * _NORMAL_SECONDS:
            break
    return waited


def row(name: str, connections: int, rounds: Sequence[Surge]) -> tuple[str, ...]:
    """Return a row of the table: medians, and the worst of what should not happen."""

    def middle(field: str, form: str = "{:.1f}") -> str:
        return form.format(median(getattr(one, field) for one in rounds))

    def worst(field: str, form: str = "{:.0f}") -> str:
        return form.format(max(getattr(one, field) for one in rounds))

    return (
        *(name, str(connections), spread([one.goodput for one in rounds], "{:.0f}")),
        *(middle("p50"), spread([one.p99 for one in rounds], "{:.0f}")),
        *(middle("refusals", "{:.0f}"), middle("refusal"), worst("errors")),
        *(worst("live"), worst("ready"), worst("wrong"), middle("cpu", "{:.0%}")),
        *(worst("memory"), worst("recovery", "{:.1f}")),
    )


class _Client(asyncio.Protocol):
    """One connection, which counts its responses by their status."""

    def __init__(self, request: bytes, took: dict[int, list[float]]) -> None:
        self._request, self._took = request, took
        self._received = b""

    @override
    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    @override
    def data_received(self, data: bytes) -> None:
        self._received += data
        head, _, body = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
        if length is None or len(body) < int(length[1]):
            return
        status, self._received = int(head[9:12]), b""
        self._took[status].append(1000 * (time.perf_counter() - self._sent))
        pause = re.search(rb"\r\nretry-after: (\d+)", head, re.IGNORECASE)
        if status == 503 and pause:
            asyncio.get_running_loop().call_later(int(pause[1]), self._send)
        else:
            self._send()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._took[0].append(0)

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)


async def _load(port: int, path: str, connections: int, seconds: float) -> dict[str, float]:
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    took = defaultdict[int, list[float]](list)
    loop, deadline = asyncio.get_running_loop(), time.monotonic() + seconds
    for _ in range(connections):
        try:
            await loop.create_connection(lambda: _Client(request, took), "127.0.0.1", port)
        except OSError:
            took[0].append(0)
    await asyncio.sleep(deadline - time.monotonic())
    successes, refusals = sorted(took.pop(200, [])), took.pop(503, [])
    return {
        "goodput": len(successes) / seconds,
        "p50": median(successes or [0]),
        "p99": successes[int(len(successes) * 0.99)] if successes else 0,
        "refusals": len(refusals) / seconds,
        "refusal": median(refusals or [0]),
        "errors": sum(map(len, took.values())),
    }


if __name__ == "__main__":
    gc.disable()
    port, path, connections, seconds = sys.argv[1:]
    found = uvloop.run(_load(int(port), path, int(connections), float(seconds)))
    print(json.dumps(found))
