"""Recent activity: what HTTP requests and queries added to the metrics in the last ten minutes."""

import asyncio
import time
from collections import defaultdict, deque
from typing import NamedTuple, Never

from groundwork.core.observability.metrics import OPERATIONS, REQUESTS

INTERVAL_SECONDS, SNAPSHOTS = 30, 20
# Requested by operators and their tools, not by users.
_PROBES = {"/", "/metrics", "/health/live", "/health/ready", "/health/details"}

# Requests per second, server errors, the slowest queries.
type Activity = tuple[float, int, list[QueryTimes]]


class QueryTimes(NamedTuple):
    """How long a query took: an upper bound and the mean, in seconds; its calls and its name."""

    bound: float
    mean: float
    calls: int
    name: str


class Recent:
    """Keeps the totals of the last ten minutes."""

    def __init__(self) -> None:
        self._snapshots = deque([(time.monotonic(), _totals())], maxlen=SNAPSHOTS)

    async def record(self) -> Never:
        """Add a snapshot every 30 s until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            self._snapshots.append((time.monotonic(), _totals()))

    def read(self) -> Activity:
        """Return the activity of the last ten minutes, without probes."""
        since, before = self._snapshots[0]
        added: defaultdict[str, dict[str, float]] = defaultdict(dict)
        for (name, part), total in _totals().items():
            added[name][part] = total - before.get((name, part), 0)
        requests = added.pop("", {})
        rate = sum(requests.values()) / max(time.monotonic() - since, 1)
        queries = [_query(name, parts) for name, parts in added.items() if parts["count"]]
        return rate, int(requests.get("5", 0)), sorted(queries, reverse=True)[:5]


def _query(name: str, parts: dict[str, float]) -> QueryTimes:
    seconds, calls = parts.pop("sum"), parts.pop("count")
    bound = min(float(limit) for limit, below in parts.items() if below == calls)
    return QueryTimes(bound, seconds / calls, int(calls), name)


def _totals() -> dict[tuple[str, str], float]:
    """Return requests by ("", first digit of the status), queries by (name, bucket/sum/count)."""
    totals: defaultdict[tuple[str, str], float] = defaultdict(float)
    for metric in (*REQUESTS.collect(), *OPERATIONS.collect()):
        for name, labels, value, *_ in metric.samples:
            if query := labels.get("db_query_summary"):
                totals[query, labels.get("le", name.rpartition("_")[2])] = value
            elif name.endswith("_count") and labels["http_route"] not in _PROBES:
                totals["", labels["http_response_status_code"][0]] += value
    return totals
