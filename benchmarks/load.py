"""The load: wrk, bounded in time, in interleaved rounds so that drift cancels out."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.machine import cpu_seconds
from benchmarks.servers import OPS_TOKEN, Server

_SCRIPT = Path(__file__).with_name("wrk.lua")
_BEARER = f"Authorization: Bearer {OPS_TOKEN}"
_IDLE = 0.02  # share of a core


@dataclass(frozen=True)
class Case:
    """One case: server, path, number of connections, and an optional header."""

    server: str
    path: str
    connections: int = 64
    header: str = ""


@dataclass(frozen=True)
class Sample:
    """One round: throughput, latencies in seconds, cost of 10,000 requests, and duration."""

    rate: float
    p50: float
    p99: float
    cpu: float
    statements: float
    errors: int
    requests: int
    seconds: float


type Samples = dict[Case, list[Sample]]


def interleave(
    cases: Iterable[Case],
    servers: Iterable[Server],
    rounds: int,
    seconds: float,
    statements: Callable[[], int],
) -> Samples:
    """Measure A B C A B C ..., after one short warm-up round of each."""
    by_name = {server.contender.name: server for server in servers}
    cases = list(cases)
    found: Samples = {case: [] for case in cases}
    for case in cases:
        _measure(case, by_name[case.server], 0.3, statements)
    for _ in range(rounds):
        for case in cases:
            found[case].append(_measure(case, by_name[case.server], seconds, statements))
    return found


def _measure(case: Case, server: Server, seconds: float, statements: Callable[[], int]) -> Sample:
    pid = server.process.pid
    sent, used = statements(), cpu_seconds(pid)
    requests, microseconds, p50, p99, errors = drive(case, server.port, seconds)
    _wait_until_idle(pid)
    used, sent = cpu_seconds(pid) - used, statements() - sent
    per_10k = 10_000 / max(requests, 1)
    took = microseconds / 1e6
    return Sample(
        rate=requests / took,
        p50=p50 / 1e6,
        p99=p99 / 1e6,
        cpu=used * per_10k,
        statements=sent * per_10k,
        errors=errors,
        requests=requests,
        seconds=took,
    )


def drive(case: Case, port: int, seconds: float) -> list[int]:
    """Run wrk; return requests, microseconds, p50 and p99 in microseconds, and errors."""
    # wrk's duration is in whole seconds; SIGINT ends it earlier, with its statistics.
    command = ["wrk", "-t1", f"-c{case.connections}", f"-d{int(seconds) + 5}s", "--timeout", "20s"]
    command += ["-s", str(_SCRIPT), "-H", _BEARER, *(["-H", case.header] if case.header else [])]
    with subprocess.Popen(
        [*command, f"http://127.0.0.1:{port}{case.path}"], stdout=subprocess.PIPE, text=True
    ) as wrk:
        time.sleep(seconds)
        wrk.send_signal(signal.SIGINT)
        output, _ = wrk.communicate(timeout=30)
    (line,) = [line for line in output.splitlines() if line.startswith("figures ")]
    return [int(figure) for figure in line.split()[1:]]


def _wait_until_idle(pid: int) -> None:
    """Wait until a server has finished the requests that wrk left, before the next round."""
    for _ in range(100):
        before = cpu_seconds(pid)
        time.sleep(0.1)
        if cpu_seconds(pid) - before < _IDLE * 0.1:
            return


@contextmanager
def probed(port: int, path: str) -> Iterator[None]:
    """Request a path ten times per second in a thread, until the block ends."""
    ended = threading.Event()

    def probe() -> None:
        while not ended.wait(0.1):
            connection = HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                connection.request("GET", path)
                connection.getresponse().read()
            finally:
                connection.close()

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
