"""Many clients at once, in a process of its own: PORT PATH CONNECTIONS SECONDS.

Each sends its next request when it has a response, after a 503 when Retry-After is over.
"""

import asyncio
import gc
import json
import re
import sys
import time
from collections import defaultdict
from statistics import median

import uvloop


async def _client(port: int, path: str, took: dict[int, list[float]]) -> None:
    """Send one request after another; note the milliseconds by status, 0 for no response."""
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            closed = None
            while not closed:
                sent = time.perf_counter()
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = re.search(rb"content-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                took[int(head[9:12])].append(1000 * (time.perf_counter() - sent))
                closed = re.search(rb"connection: close", head)
                if pause := re.search(rb"retry-after: (\d+)", head):
                    await asyncio.sleep(int(pause[1]))
            writer.close()
        except (OSError, asyncio.IncompleteReadError):
            took[0].append(0)
            await asyncio.sleep(0.1)


async def _run(port: int, path: str, connections: int, seconds: float) -> dict[str, float]:
    took = defaultdict[int, list[float]](list)
    clients = [asyncio.create_task(_client(port, path, took)) for _ in range(connections)]
    await asyncio.wait(clients, timeout=seconds)
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
    port, path, connections, seconds = sys.argv[1:]
    found = uvloop.run(_run(int(port), path, int(connections), float(seconds)))
    print(json.dumps(found))
