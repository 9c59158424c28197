"""Metrics: names and labels as OpenTelemetry's conventions have them, written for Prometheus.

What has no convention is called groundwork_*. Durations are seconds. A feature defines its own
metrics beside its code: whatever is in prometheus_client's default registry is exposed.
"""

from bisect import bisect_left
from functools import cache
from http import HTTPMethod
from typing import override

import prometheus_client
from prometheus_client import Counter, Gauge, Info, disable_created_metrics, values

# One process, whatever PROMETHEUS_MULTIPROC_DIR is: no files to write, or to fail for.
values.ValueClass = values.MutexValue
disable_created_metrics()  # type: ignore[no-untyped-call]

# What the conventions advise for databases; for HTTP they advise prometheus_client's defaults.
_DATABASE_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
_METHODS = frozenset(map(str, HTTPMethod))


class Histogram(prometheus_client.Histogram):
    """prometheus_client's, for the event loop's thread alone: its locks took 4 % of a request."""

    @override
    def observe(self, amount: float, exemplar: object = None) -> None:
        self._sum._value += amount  # noqa: SLF001 - no public way is without a lock
        self._buckets[bisect_left(self._upper_bounds, amount)]._value += 1  # noqa: SLF001


REQUESTS = Histogram(
    "http_server_request_duration_seconds",
    "Duration of HTTP requests.",
    ("http_request_method", "http_route", "http_response_status_code"),
)
_ACTIVE = Gauge(
    "http_server_active_requests", "HTTP requests in flight.", ("http_request_method", "url_scheme")
)
OPERATIONS = Histogram(
    "db_client_operation_duration_seconds",
    "Duration of statements, by the file in sql/ that holds them.",
    ("db_system_name", "db_query_summary"),
    buckets=_DATABASE_BUCKETS,
)
_POOL = ("db_client_connection_pool_name",)
_CONNECTIONS = Gauge(
    "db_client_connection_count", "Connections of the pool.", (*_POOL, "db_client_connection_state")
)
IDLE_CONNECTIONS, USED_CONNECTIONS = (
    _CONNECTIONS.labels("groundwork", state) for state in ("idle", "used")
)
MAX_CONNECTIONS = Gauge("db_client_connection_max", "DB_POOL_MAX_SIZE.", _POOL).labels("groundwork")
PENDING_REQUESTS = Gauge(
    "db_client_connection_pending_requests", "Requests waiting for a connection.", _POOL
).labels("groundwork")
WAIT_TIME = Histogram(
    "db_client_connection_wait_time_seconds",
    "How long requests waited for a connection, where none was idle.",
    _POOL,
    buckets=_DATABASE_BUCKETS,
).labels("groundwork")
TIMEOUTS = Counter(
    "db_client_connection_timeouts", "Requests that got no connection in time.", _POOL
).labels("groundwork")
READY = Gauge("groundwork_ready", "1 while this instance is ready.")
READINESS_STATE = Gauge("groundwork_readiness_state", "1 for the current reason.", ("reason",))
READINESS_CHECKS = Histogram(
    "groundwork_readiness_check_duration_seconds",
    "Duration of readiness checks.",
    buckets=_DATABASE_BUCKETS,
)
LOG_LINES_DROPPED = Counter("groundwork_log_lines_dropped", "Log lines dropped.")
LOOP_LAG = Histogram(
    "groundwork_event_loop_lag_seconds",
    "How late the event loop runs its callbacks.",
    buckets=_DATABASE_BUCKETS,
)
LOOP_LAG_MAX = Gauge("groundwork_event_loop_lag_max_seconds", "The longest lag of the last minute.")
BUILD = Info("groundwork_build", "Build information.")


def method_label(method: str) -> str:
    """Return the method, or _OTHER for an unknown one, of which clients can send any number."""
    return method if method in _METHODS else "_OTHER"


# The histogram of one method, route template ("" for none) and status code.
request_duration = cache(REQUESTS.labels)


class ActiveRequests:
    """Count the requests in flight with one method and scheme; read at the scrape."""

    def __init__(self, method: str, scheme: str) -> None:
        self.count = 0
        _ACTIVE.labels(method, scheme).set_function(lambda: self.count)


active_requests = cache(ActiveRequests)
