"""What a check reads, and what checks found: results with their reasons, for ten minutes."""

import logging
import time
from collections import deque
from datetime import UTC, datetime
from typing import Annotated, Literal, Self, get_args

import asyncpg
from msgspec import Meta, Struct, field

from groundwork.core.database.errors import Reason as DatabaseReason
from groundwork.core.database.errors import connect_reason_of, describe
from groundwork.core.database.migration_files import migration_ids
from groundwork.core.database.pool import Pool
from groundwork.core.database.queries import Query
from groundwork.core.observability import metrics
from groundwork.core.structs import DateTime

logger = logging.getLogger(__name__)

type Status = Literal["ok", "degraded", "unavailable"]

Reason = Literal[DatabaseReason, "starting", "migrations_pending", "event_loop_blocked", "draining"]
REASONS = ("ok", *get_args(Reason))
_MAX_RESULTS = 600  # ten minutes of checks at the default READINESS_TTL


class ReadyRow(Struct):
    """The row of sql/health/ready.sql."""

    is_read_only: bool
    server: str
    postgres_version: str
    applied: list[str]
    session_properties: str


READY = Query[ReadyRow]("health/ready")


class Result(Struct, frozen=True):
    """What a check found; `cause` is for the log, never for a response.

    Latency in seconds, None if the check failed; `checked_at` is a time.monotonic().
    """

    status: Status
    reason: Reason | None = None
    pending: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    applied: tuple[str, ...] = ()
    server_version: str | None = None
    latency: float | None = None
    cause: str | None = None
    checked_at: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, row: ReadyRow, pool: Pool, failure: Exception | None, latency: float) -> Self:
        """Return what a check found; `failure` is why no new connection could be opened, if so."""
        known, applied = migration_ids(), tuple(row.applied)
        pending = tuple(name for name in known if name not in applied)
        unknown = tuple(name for name in applied if name not in known)
        status: Status = "ok"
        reason: Reason | None = None
        cause = describe(failure) if failure else None
        if row.is_read_only:
            status, reason = "unavailable", "database_read_only"
            cause = f"sessions are read-only: {row.server}"
        elif pending:
            status, reason = "unavailable", "migrations_pending"
        elif failure:
            status = "degraded" if pool.get_size() else "unavailable"
            reason = connect_reason_of(failure)
        elif pool.get_size() - pool.get_idle_size() >= pool.max_size:
            status, reason = "degraded", "pool_saturated"
        return cls(status, reason, pending, unknown, applied, row.postgres_version, latency, cause)

    @classmethod
    def of_failure(cls, error: Exception, blocked: float, timeout: float) -> Self:
        """Return what a failed check found; `blocked` is for how many seconds the loop was."""
        if isinstance(error, asyncpg.UndefinedTableError):
            return cls("unavailable", "migrations_pending", pending=migration_ids())
        if isinstance(error, TimeoutError) and blocked >= timeout / 2:
            cause = f"the event loop was blocked for {blocked:.2f} s"
            return cls("degraded", "event_loop_blocked", cause=cause)
        return cls("unavailable", connect_reason_of(error), cause=describe(error))


class Change(Struct):
    """A change of status or reason, and for how long the previous one held."""

    at: DateTime
    status: Status
    reason: Reason | None
    previous: str
    lasted_seconds: Annotated[float, Meta(ge=0)]


class History:
    """Keeps results, exports them as metrics, and logs each transition once."""

    def __init__(self) -> None:
        self.latest = Result("unavailable", "starting")
        self.transitions: deque[Change] = deque(maxlen=20)
        self.results: deque[Result] = deque(maxlen=_MAX_RESULTS)  # of checks
        self._since = time.monotonic()
        self._export()

    def publish(self, result: Result) -> None:
        """Make a result the latest one."""
        previous, self.latest = self.latest, result
        self._export()
        status, reason, now = result.status, result.reason, time.monotonic()
        if (status, reason) == (previous.status, previous.reason):
            return
        lasted, self._since = round(now - self._since, 3), now
        before = previous.reason or previous.status
        self.transitions.append(Change(datetime.now(UTC), status, reason, before, lasted))
        level = logging.INFO if reason in {None, "draining"} else logging.WARNING
        fields = {"reason": reason, "cause": result.cause, "previous": before}
        logger.log(level, "readiness is %s", status, extra=fields | {"lasted_seconds": lasted})

    def _export(self) -> None:
        metrics.READY.set(self.latest.status != "unavailable")
        for reason in REASONS:
            is_current = reason == (self.latest.reason or "ok")
            metrics.READINESS_STATE.labels(reason).set(is_current)
