"""Results as Markdown: the median of all rounds, with the lowest and highest."""

from collections.abc import Callable, Iterable, Sequence
from statistics import median

from benchmarks.load import Case, Sample, Samples

type Figure = Callable[[Sample], float]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """Return the median, with the lowest and highest in parentheses."""
    low, high = form.format(min(values)), form.format(max(values))
    return f"{form.format(median(values))} ({low}-{high})"


def ratio(samples: Samples, figure: Figure, of: Case, to: Case) -> list[float]:
    """Return the ratio of each round, so that what slows both down cancels out."""
    pairs = zip(samples[of], samples[to], strict=True)
    return [figure(one) / figure(other) for one, other in pairs]


def rate(sample: Sample) -> float:
    """Return requests per second."""
    return sample.rate


def p50(sample: Sample) -> float:
    """Return the median latency in milliseconds."""
    return sample.p50 * 1000


def p99(sample: Sample) -> float:
    """Return the 99th percentile in milliseconds."""
    return sample.p99 * 1000


def cpu(sample: Sample) -> float:
    """Return CPU seconds per 10,000 requests."""
    return sample.cpu


def statements(sample: Sample) -> float:
    """Return SQL statements per 10,000 requests."""
    return sample.statements


def all_results(samples: Samples) -> str:
    """Return a table with everything that was measured, one row per case."""
    header = ["", "path", "conn.", "requests/s", "p50 ms", "p99 ms", "CPU s / 10k"]
    rows = [
        (
            case.server,
            case.path.removeprefix("/health/"),
            str(case.connections),
            spread([rate(one) for one in rounds], "{:.0f}"),
            spread([p50(one) for one in rounds], "{:.3f}"),
            spread([p99(one) for one in rounds]),
            spread([cpu(one) for one in rounds], "{:.3f}"),
            f"{median(statements(one) for one in rounds):.0f}",
            str(sum(one.errors for one in rounds)),
        )
        for case, rounds in samples.items()
    ]
    return table([*header, "SQL / 10k", "errors"], rows)
