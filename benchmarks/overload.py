"""More connections than a core can serve: what succeeds, what is refused, and what probes see.

`python -m benchmarks.overload PORT CONNECTIONS SECONDS` is the load, in its own process: each
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
from statistics import median
from typing import Any, override

import uvloop

from benchmarks.load import wait_until_idle
from benchmarks.machine import cpu_seconds, memory
from benchmarks.servers import Server, get

PATH = "/notes"
SATURATING = 32  # connections; the CPU column shows whether they saturate a core
FACTORS = (1, 2, 5, 10, 20)
COLUMNS = {  # the format of each figure
    "200/s": "{:.0f}",
    "p50 ms": "{:.1f}",
    "p99 ms": "{:.1f}",
    "503/s": "{:.0f}",
    "ms to a 503": "{:.1f}",
    "errors": "{:.0f}",
    "live, worst ms": "{:.0f}",
    "ready, worst ms": "{:.0f}",
    "probes not 200": "{:.0f}",
    "CPU": "{:.0%}",
    "MiB": "{:.0f}",
    "s to normal": "{:.1f}",
}
_NORMAL_MS = 50  # a single request to an idle server takes a tenth of it

type Surge = dict[str, float]


def surge(server: Server, connections: int, seconds: float) -> Surge:
    """Return the figures of one round: load from another process, and probes beside it."""
    used, probes = cpu_seconds(server.pid), defaultdict[str, list[float]](list)
    command = [sys.executable, "-m", "benchmarks.overload"]
    command += [str(server.port), str(connections), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as load:
        while load.poll() is None:
            for path in ("/health/live", "/health/ready"):
                status, took = _timed(server.port, path)
                probes[path if status == 200 else "not 200"].append(took)
            time.sleep(0.05)
        output, _ = load.communicate()
    used = cpu_seconds(server.pid) - used
    recovery = _recovery(server.port)
    wait_until_idle(server.pid)
    found: Surge = json.loads(output)
    return found | {
        "live, worst ms": max(probes["/health/live"], default=0),
        "ready, worst ms": max(probes["/health/ready"], default=0),
        "probes not 200": len(probes["not 200"]),
        "CPU": used / seconds,
        "MiB": memory(server.pid),
        "s to normal": recovery,
    }


def _timed(port: int, path: str) -> tuple[int, float]:
    started = time.perf_counter()
    return get(port, path), 1000 * (time.perf_counter() - started)


def _recovery(port: int) -> float:
    """Return the seconds until a request succeeds in normal time; 10 at most."""
    started = time.perf_counter()
    while (waited := time.perf_counter() - started) < 10:
        status, took = _timed(port, PATH)
        if status == 200 and took < _NORMAL_MS:
            break
    return waited


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


async def _load(port: int, connections: int, seconds: float) -> Surge:
    request = f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
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
        "200/s": len(successes) / seconds,
        "p50 ms": median(successes or [0]),
        "p99 ms": successes[int(len(successes) * 0.99)] if successes else 0,
        "503/s": len(refusals) / seconds,
        "ms to a 503": median(refusals or [0]),
        "errors": sum(map(len, took.values())),
    }


if __name__ == "__main__":
    gc.disable()
    port, connections, seconds = sys.argv[1:]
    print(json.dumps(uvloop.run(_load(int(port), int(connections), float(seconds)))))
