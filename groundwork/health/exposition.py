"""What Prometheus reads; prometheus-client is imported at the first scrape, not at the start."""

from collections.abc import Iterable, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from groundwork import __version__
from groundwork.core.observability.logging import dropped_lines
from groundwork.core.observability.metrics import BUCKETS, Histogram
from groundwork.core.readiness.result import REASONS
from groundwork.core.state import State

_ROUTE = ("method", "route", "status")


def expose(state: State, lag: float) -> bytes:
    """Return the metrics in Prometheus' text format; `lag` is the event loop's, in seconds."""
    registry = CollectorRegistry()
    registry.register(_Service(state, lag))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Service(Collector):
    def __init__(self, state: State, lag: float) -> None:
        self._state = state
        self._lag = lag

    def collect(self) -> Iterable[Metric]:
        environment = self._state["settings"].environment
        build = GaugeMetricFamily(
            "groundwork_build_info", "What runs.", labels=("version", "environment")
        )
        build.add_metric((__version__, environment), 1)
        yield build
        yield from self._requests()
        yield from self._readiness()
        yield from self._pool()
        yield GaugeMetricFamily(
            "groundwork_event_loop_lag_seconds", "One turn of the event loop.", self._lag
        )
        yield CounterMetricFamily(
            "groundwork_log_lines_dropped", "Lines nobody read in time.", dropped_lines()
        )

    def _requests(self) -> Iterable[Metric]:
        requests = self._state["requests"]
        count = CounterMetricFamily("groundwork_http_requests", "Requests answered.", labels=_ROUTE)
        seconds = HistogramMetricFamily(
            "groundwork_http_request_duration_seconds", "Until the answer was out.", labels=_ROUTE
        )
        for (method, route, status), histogram in requests.by_route.items():
            labels = (method, route, str(status))
            count.add_metric(labels, sum(histogram.counts))
            seconds.add_metric(labels, _buckets(histogram), histogram.total)
        in_flight = GaugeMetricFamily(
            "groundwork_http_requests_in_flight", "Requests not yet answered.", requests.in_flight
        )
        return count, seconds, in_flight

    def _readiness(self) -> Iterable[Metric]:
        readiness = self._state["readiness"]
        now = readiness.latest.reason or "ok"
        ready = GaugeMetricFamily(
            "groundwork_ready",
            "1 when requests may come.",
            readiness.latest.status != "unavailable",
        )
        state = _by_label(
            "groundwork_readiness_state",
            "1 for the state it is in.",
            "reason",
            {reason: float(reason == now) for reason in REASONS},
        )
        seconds = HistogramMetricFamily(
            "groundwork_readiness_check_duration_seconds", "Checks of the database."
        )
        seconds.add_metric((), _buckets(readiness.durations), readiness.durations.total)
        return ready, state, seconds

    def _pool(self) -> Iterable[Metric]:
        pool = self._state["pool"]
        size, idle = pool.get_size(), pool.get_idle_size()
        connections = _by_label(
            "groundwork_db_pool_connections",
            "Connections of the pool.",
            "state",
            {"idle": idle, "in_use": size - idle},
        )
        waiters = GaugeMetricFamily(
            "groundwork_db_pool_waiters",
            "Requests that wait for a connection.",
            len(pool._queue._getters),  # type: ignore[attr-defined]  # noqa: SLF001 - told nowhere else
        )
        most = GaugeMetricFamily(
            "groundwork_db_pool_max_connections", "DB_POOL_MAX_SIZE.", pool.get_max_size()
        )
        return connections, most, waiters


def _by_label(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for value, number in values.items():
        family.add_metric((value,), number)
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    limits = (*(str(limit) for limit in BUCKETS), "+Inf")
    return list(zip(limits, accumulate(histogram.counts), strict=True))
