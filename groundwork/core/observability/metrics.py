"""What is counted, in plain dictionaries: a request pays no label look-up and no lock."""

from bisect import bisect_left
from collections import defaultdict

# Seconds. From a probe's time to that of a request which has long lost its caller.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


class Histogram:
    """How many durations fell into each bucket, and their sum in seconds."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


class RequestMetrics:
    """Requests by method, route template and status: an unknown path or method makes no series."""

    __slots__ = ("by_route", "in_flight")

    def __init__(self) -> None:
        self.in_flight = 0
        self.by_route: defaultdict[tuple[str, str, int], Histogram] = defaultdict(Histogram)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request that has been answered; `route` is a template, or "unmatched"."""
        known = method if method in METHODS else "other"
        self.by_route[known, route, status].observe(seconds)
