"""Interleaved rounds of load by wrk, and the medians and spreads of their figures."""

import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median

from benchmarks.machine import cpu_seconds
from benchmarks.servers import ORIGIN, Server

_SCRIPT = Path(__file__).with_name("wrk.lua")
_HEADERS = (f"Origin: {ORIGIN}", "Content-Type: application/json")
CONNECTIONS = 64


@dataclass(frozen=True)
class Route:
    """A request: what it is called, method, path, and the body of a POST."""

    name: str
    path: str
    method: str = "GET"
    body: str = ""


@dataclass(frozen=True)
class Sample:
    """One round: requests per second, latencies in ms, CPU time per request in us, errors."""

    rate: float
    p50: float
    p99: float
    cpu: float
    errors: int


type Samples = dict[tuple[Route, str], list[Sample]]


def interleave(
    routes: Iterable[Route], servers: Sequence[Server], rounds: int, seconds: float
) -> Samples:
    """Measure each route on server A, B, C, A, B, C ..., after a short round to warm up."""
    samples: Samples = {}
    for number, route in product(range(rounds + 1), routes):
        for server in servers:
            sample = _measure(route, server, seconds if number else 0.5)
            if number:
                samples.setdefault((route, server.name), []).append(sample)
    return samples


def _measure(route: Route, server: Server, seconds: float) -> Sample:
    used = cpu_seconds(server.pid)
    requests, duration, p50, p99, errors = _wrk(route, server.port, seconds)
    wait_until_idle(server.pid)
    used = cpu_seconds(server.pid) - used
    served = requests + CONNECTIONS  # the server also handles what was in flight when wrk ended
    rate = 1e6 * max(requests, 1) / duration  # on a busy machine, none may be complete in time
    return Sample(rate, p50 / 1e3, p99 / 1e3, 1e6 * used / served, errors)


def _wrk(route: Route, port: int, seconds: float) -> list[int]:
    # wrk counts in whole seconds; SIGINT ends it cleanly before that.
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{int(seconds) + 5}s", "--timeout", "20s"]
    command += [argument for header in _HEADERS for argument in ("-H", header)]
    command += ["-s", str(_SCRIPT), f"http://127.0.0.1:{port}{route.path}", "--"]
    command += [route.method, *([route.body] if route.body else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as wrk:
        time.sleep(seconds)
        wrk.send_signal(signal.SIGINT)
        output, _ = wrk.communicate(timeout=30)
    (line,) = [line for line in output.splitlines() if line.startswith("figures ")]
    return [int(figure) for figure in line.split()[1:]]


def wait_until_idle(pid: int) -> None:
    """Let a server finish what wrk has left behind, 10 s at most."""
    for _ in range(100):
        before = cpu_seconds(pid)
        time.sleep(0.1)
        if cpu_seconds(pid) - before < 0.002:
            return


def ratio(samples: Samples, figure: str, of: tuple[Route, str], to: tuple[Route, str]) -> str:
    """Return the ratio of a figure in each round, so that what slows both down cancels out."""
    pairs = zip(samples[of], samples[to], strict=True)
    return spread([getattr(one, figure) / getattr(other, figure) for one, other in pairs])


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """Return the median, and in brackets the lowest and highest where they differ."""
    low, middle, high = (form.format(one(values)) for one in (min, median, max))
    return middle if low == high else f"{middle} ({low}-{high})"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
