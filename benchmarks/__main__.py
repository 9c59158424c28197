"""Benchmarks: `uv run python -m benchmarks`, or --quick for a first impression."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

from benchmarks import overload
from benchmarks.load import Route, Sample, Samples, interleave, ratio, spread, table
from benchmarks.machine import describe, memory, split_cores
from benchmarks.servers import ALL, FASTAPI, LIMIT, OURS, database, running, started, wait_for
from tests import guardian

LIST, ROW = Route("list of 20 rows", "/notes"), Route("one row", "/notes/50")
NEW = json.dumps({"title": "Note %s", "body": "word " * 20})  # as long as those that exist
CREATE = Route("create", "/notes", "POST", NEW)
LIVE, READY = Route("live", "/health/live"), Route("ready", "/health/ready")


@dataclass(frozen=True)
class Run:
    """Where to measure, how often, and for how many seconds each time."""

    url: str
    core: list[str]
    rounds: int
    seconds: float


def features(run: Run) -> Iterator[str]:
    """Yield what a request to a feature costs, each server with the same duties."""
    with running(ALL, run.url, run.core) as servers:
        samples = interleave((LIST, ROW, CREATE), servers, run.rounds, run.seconds)
    yield from _tables("Features", samples)


def probes(run: Run) -> Iterator[str]:
    """Yield what a probe costs; the limit sends constant bytes for both."""
    with running(ALL, run.url, run.core) as servers:
        samples = interleave((LIVE, READY), servers, run.rounds, run.seconds)
    yield from _tables("Probes", samples)


def _tables(title: str, samples: Samples) -> Iterator[str]:
    routes, names = list(dict.fromkeys(route for route, _ in samples)), [one.name for one in ALL]
    peers = [name for name in names if name not in {LIMIT.name, OURS.name}]
    yield f"## {title}\n"
    rows = [
        (route.name, *(ratio(samples, "cpu", (route, name), (route, LIMIT.name)) for name in names))
        for route in routes
    ]
    yield table(("CPU per request vs the limit", *names), rows)
    rows = [
        (route.name, *(ratio(samples, "rate", (route, OURS.name), (route, peer)) for peer in peers))
        for route in routes
    ]
    yield table(("Requests per second of Groundwork vs", *peers), rows)
    rows = [(*_figures(rounds, route, name),) for (route, name), rounds in samples.items()]
    yield table(("", "", "requests/s", "p50 ms", "p99 ms", "CPU us/request", "errors"), rows)


def _figures(rounds: list[Sample], route: Route, name: str) -> tuple[str, ...]:
    return (
        route.name,
        name,
        spread([one.rate for one in rounds], "{:.0f}"),
        spread([one.p50 for one in rounds]),
        spread([one.p99 for one in rounds]),
        spread([one.cpu for one in rounds], "{:.0f}"),
        str(sum(one.errors for one in rounds)),
    )


def startup(run: Run) -> Iterator[str]:
    """Yield the time from the start of a process to its first 200, and its memory after load."""
    took: dict[str, list[float]] = {one.name: [] for one in ALL}
    for number, contender in product(range(run.rounds + 1), ALL):
        begun = time.perf_counter()
        with started(contender, run.url, run.core) as server:
            wait_for(server, LIVE.path)
            if number:  # the first round warms the file cache
                took[contender.name].append(time.perf_counter() - begun)
    with running(ALL, run.url, run.core) as servers:
        interleave((LIST, CREATE), servers, 1, run.seconds)
        used = {server.name: memory(server.pid) for server in servers}
    yield "## Startup and memory\n"
    rows = [
        (
            name,
            spread([1000 * one for one in times], "{:.0f}"),
            spread([one / limit for one, limit in zip(times, took[LIMIT.name], strict=True)]),
            f"{used[name]:.0f}",
            f"{used[name] / used[LIMIT.name]:.2f}",
        )
        for name, times in took.items()
    ]
    yield table(("", "to the first 200, ms", "vs the limit", "MiB after load", "vs it"), rows)


def surges(run: Run) -> Iterator[str]:
    """Yield goodput, refusals and probes as connections grow to 160 times what saturates a core."""
    counts = [1, *(overload.SATURATING * factor for factor in overload.FACTORS)]
    rounds, seconds = (run.rounds + 2) // 3, 2.5 * run.seconds
    found: dict[tuple[str, int], list[overload.Surge]] = {}
    with running((OURS, FASTAPI), run.url, run.core) as servers:
        for _, count, server in product(range(rounds), counts, servers):
            one = overload.surge(server, count, seconds)
            found.setdefault((server.name, count), []).append(one)
    yield "## Overload\n"
    rows = [
        (
            name,
            str(count),
            *(
                spread([one[key] for one in found[name, count]], form)
                for key, form in overload.COLUMNS.items()
            ),
        )
        for name, count in product((OURS.name, FASTAPI.name), counts)
    ]
    yield table(("", "connections", *overload.COLUMNS), rows)


SECTIONS: dict[str, Callable[[Run], Iterator[str]]] = {
    "features": features,
    "probes": probes,
    "startup": startup,
    "overload": surges,
}


def main() -> None:
    """Run the sections and print them as Markdown."""
    parser = argparse.ArgumentParser("benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three short rounds")
    parser.add_argument("--only", choices=SECTIONS, help="one section")
    options = parser.parse_args()
    rounds, seconds = (3, 0.8) if options.quick else (9, 2.0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # stops what it has started
    guardian.watch()
    core = split_cores()
    with database() as url:
        print(f"{describe(core)}. Medians of {rounds} rounds (lowest-highest).\n")
        for name in [options.only] if options.only else SECTIONS:
            for text in SECTIONS[name](Run(url, core, rounds, seconds)):
                print(text, flush=True)


if __name__ == "__main__":
    main()
