"""Run the benchmarks: `uv run python -m benchmarks` takes some 15 minutes, --quick two."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from statistics import median

from benchmarks import hotspots, report
from benchmarks.database import Database, postgresql
from benchmarks.load import Case, Samples, interleave, probed
from benchmarks.machine import describe, peak_memory, split_cores
from benchmarks.report import cpu, p50, p99, rate, ratio, spread, table
from benchmarks.servers import (
    ACCESS_LOG,
    FASTAPI,
    LIMIT,
    OURS,
    PEERS,
    Server,
    running,
    seconds_to_live,
)

LIVE, READY, DETAILS = "/health/live", "/health/ready", "/health/details"
MIB = 1024 * 1024


@dataclass
class Run:
    """The parameters of a run, and its results so far."""

    database: Database
    core: list[str]
    rounds: int
    seconds: float
    quick: bool
    samples: Samples = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    starts: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, cases: list[Case], servers: list[Server]) -> Samples:
        """Measure cases in interleaved rounds."""
        return interleave(cases, servers, self.rounds, self.seconds, self.database.statements)


def compare(run: Run) -> Iterator[str]:
    """Yield the table of targets and all results, with the database on this machine."""
    for _, peer in product(range(run.rounds + 1), PEERS):  # the first warms the file cache
        took = seconds_to_live(peer, run.database.cluster.url(), run.core)
        run.starts.setdefault(peer.name, []).append(took)
    with running(PEERS, run.database.cluster.url(), run.core) as servers:
        for connections in (64, 1, 512):
            names = [peer.name for peer in PEERS]
            cases = [Case(name, path, connections) for path in (LIVE, READY) for name in names]
            run.samples |= run.measure(cases, servers)
        details = [Case(name, DETAILS) for name in (OURS.name, FASTAPI.name)]
        run.samples |= run.measure(details, servers)
        run.memory = {s.contender.name: peak_memory(s.process.pid) / MIB for s in servers}
    yield from ("## Targets\n", targets(run))
    yield from (
        "## All results, database on this machine\n",
        report.all_results(run.samples),
    )
    rows = [
        (name, spread([1000 * took for took in starts[1:]], "{:.0f}"), f"{run.memory[name]:.0f}")
        for name, starts in run.starts.items()
    ]
    yield table(("", "start to the first 200, ms", "peak memory, MiB"), rows)


def targets(run: Run) -> str:
    """Return the table of targets, with the results of each server."""
    names = [peer.name for peer in PEERS if peer is not LIMIT]

    def against(path: str, figure: report.Figure, connections: int = 64) -> list[str]:
        limit = Case(LIMIT.name, path, connections)
        cases = [Case(name, path, connections) for name in names]
        return [spread(ratio(run.samples, figure, case, limit)) for case in cases]

    def row(what: str, target: str, figures: list[str]) -> tuple[str, ...]:
        return (what, target, *figures)

    own_live = [
        spread(ratio(run.samples, rate, Case(name, READY), Case(name, LIVE))) for name in names
    ]
    details = spread(
        ratio(run.samples, rate, Case(OURS.name, DETAILS), Case(FASTAPI.name, DETAILS))
    )
    limit_starts = run.starts[LIMIT.name]
    starts = [
        spread([one / limit for one, limit in zip(run.starts[name], limit_starts, strict=True)][1:])
        for name in names
    ]
    memory = [f"{run.memory[name] / run.memory[LIMIT.name]:.2f}" for name in names]
    blank = [""] * (len(names) - 2)
    rows = [
        row("live, throughput vs the limit", "0.90 or more", against(LIVE, rate)),
        row("live, CPU per request vs the limit", "1.11 or less", against(LIVE, cpu)),
        row(
            "ready, throughput vs the limit's own query per request",
            "2.0 or more",
            against(READY, rate),
        ),
        row("ready vs one's own live", "0.90 or more", own_live),
        row(
            "SQL statements per 10,000 probes",
            "as many as TTLs passed, no more",
            [_statements(run.samples, name) for name in names],
        ),
        row("live at 512 connections vs the limit", "0.95 or more", against(LIVE, rate, 512)),
        row("p50 of live at 1 connection vs the limit", "1.05 or less", against(LIVE, p50, 1)),
        row("p50 of ready at 1 connection vs the limit", "0.6 or less", against(READY, p50, 1)),
        row("details vs FastAPI + SQLAlchemy's", "8 or more", [details, *blank, "1"]),
        row("start to the first live 200 vs the limit", "1.3 or less", starts),
        row("memory after load vs the limit", "1.15 or less", memory),
    ]
    return table(("", "target", *names), rows)


def _statements(samples: Samples, name: str) -> str:
    rounds = samples[Case(name, READY)]
    total = sum(one.statements * one.requests for one in rounds) / 10_000
    seconds = sum(one.seconds for one in rounds)
    per_10k = median(one.statements for one in rounds)
    return f"{per_10k:.0f} ({total:.0f} in {seconds:.0f} s)"


def growth(run: Run) -> Iterator[str]:
    """Yield throughput and p99 of ready by number of connections and database latency.

    The service is probed all the time, as in production: the first probe after a pause waits.
    """
    yield "## Ready, by latency of the database\n"
    rows = []
    counts, distances = (1, 8, 64, 512), (0, 5, 50)
    for distance in distances:
        with (
            run.database.away(distance) as url,
            running((LIMIT, OURS), url, run.core) as servers,
            probed(servers[1].port, READY),
        ):
            for count in counts:
                cases = [Case(one.contender.name, READY, count) for one in servers]
                found = run.measure(cases, servers)
                rows.append((str(count), f"{distance} ms", *_rate_and_tail(found)))
    rows.sort(key=lambda row: int(row[0]))
    names = [f"{one.name}: {what}" for one in (LIMIT, OURS) for what in ("req/s", "p99")]
    yield table(("conn.", "latency", *names), rows)


def _rate_and_tail(found: Samples) -> list[str]:
    return [
        text
        for rounds in found.values()
        for text in (
            spread([rate(one) for one in rounds], "{:.0f}"),
            spread([p99(one) for one in rounds], "{:.1f}") + " ms",
        )
    ]


def frozen(run: Run) -> Iterator[str]:
    """Yield the latency of live while the database is frozen, and while it is healthy."""
    ratios, rows = [], []
    with running((OURS,), run.database.cluster.url(), run.core) as servers:
        (server,) = servers
        live = Case(OURS.name, LIVE)
        for _ in range(run.rounds):
            pair = []
            for number in (signal.SIGCONT, signal.SIGSTOP):
                run.database.cluster.signal_all(number)
                try:
                    with probed(server.port, READY):  # so that checks are in flight
                        found = interleave([live], servers, 1, 2 * run.seconds, lambda: 0)
                finally:
                    run.database.cluster.signal_all(signal.SIGCONT)
                pair.append(found[live][0])
            ratios.append(p99(pair[1]) / p99(pair[0]))
            rows.append([p99(one) for one in pair])
    healthy, stopped = (spread(list(values)) for values in zip(*rows, strict=True))
    yield "## Live, while the database is frozen\n"
    yield table(
        ("p99 at 64 connections, ms", "healthy", "frozen", "ratio (1.2 or less)"),
        [("live, with probes of ready beside it", healthy, stopped, spread(ratios))],
    )


def features(run: Run) -> Iterator[str]:
    """Yield the cost of each feature that every request pays for."""
    base = Case(OURS.name, LIVE)
    others = {
        "request ID from the client": Case(OURS.name, LIVE, header="X-Request-ID: abcdef-123456"),
        "access log written": Case(ACCESS_LOG.name, LIVE),
        "with an Origin header": Case(OURS.name, LIVE, header="Origin: https://app.example"),
    }
    with running((OURS, ACCESS_LOG), run.database.cluster.url(), run.core) as servers:
        found = run.measure([base, *others.values()], servers)
    rows = [("default", spread([cpu(one) for one in found[base]], "{:.3f}"), "1")]
    rows += [
        (
            what,
            spread([cpu(one) for one in found[case]], "{:.3f}"),
            spread(ratio(found, cpu, case, base)),
        )
        for what, case in others.items()
    ]
    yield "## Cost per request\n"
    yield table(("live, 64 connections", "CPU s / 10k", "ratio"), rows)


def profile(run: Run) -> Iterator[str]:
    """Yield the ten functions with the highest own time."""
    yield "## Hot spots\n"
    with running((OURS,), run.database.cluster.url(), run.core) as servers:
        for path in (LIVE, READY):
            found = hotspots.top(servers[0], Case(OURS.name, path), 2 if run.quick else 10)
            rows = [(f"{share:.1%}", f"`{function}`") for share, function in found]
            yield table((f"{path}, own time", "function"), rows)


SECTIONS: dict[str, Callable[[Run], Iterator[str]]] = {
    "compare": compare,
    "growth": growth,
    "frozen": frozen,
    "features": features,
    "profile": profile,
}


def main() -> None:
    """Run the chosen sections and print them as Markdown."""
    parser = argparse.ArgumentParser("benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a first impression in two minutes")
    parser.add_argument("--only", choices=SECTIONS, help="run one section")
    options = parser.parse_args()
    chosen = [options.only] if options.only else ["compare"] if options.quick else [*SECTIONS]
    rounds, seconds = (3, 0.8) if options.quick else (9, 0.8)
    core = split_cores()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # stops the servers
    with postgresql() as database:
        run = Run(database, core, rounds, seconds, options.quick)
        print(f"{describe(database.version)}. Medians of {rounds} rounds (lowest-highest).\n")
        for name in chosen:
            for text in SECTIONS[name](run):
                print(text, flush=True)


if __name__ == "__main__":
    main()
