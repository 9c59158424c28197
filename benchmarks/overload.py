"""More connections than a core can serve: what succeeds, what is refused, and what probes see."""

import json
import subprocess
import sys
import time
from collections import defaultdict

from benchmarks.load import wait_until_idle
from benchmarks.machine import cpu_seconds, memory
from benchmarks.servers import Server, get

PATH = "/notes"
SATURATING = 4  # connections; the CPU column shows whether they saturate a core
FACTORS = (1, 5, 20, 160)
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
    command = [sys.executable, "-m", "benchmarks.clients"]
    command += [str(server.port), PATH, str(connections), str(seconds)]
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
