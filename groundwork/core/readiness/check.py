"""Can this instance serve? One check in flight, its answer shared, within the caller's budget."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from datetime import UTC, datetime
from typing import Literal

import asyncpg

from groundwork.core.config import Settings
from groundwork.core.database.connections import Connection, Pool
from groundwork.core.database.migration_files import migration_ids
from groundwork.core.observability import metrics
from groundwork.core.readiness.connection import CheckConnection
from groundwork.core.readiness.result import REASONS, Result, Sample, Transition, reason_of
from groundwork.core.tasks import spawn

logger = logging.getLogger(__name__)

_LOST = ("database_unreachable", "database_timeout")
# A check ends a little before its callers lose patience, so that they get what it found.
_CHECK_SHARE = 0.95
# Ten minutes' worth of checks at the default READINESS_TTL.
_HISTORY = 600


class Readiness:
    """Asks the database on a connection of its own, so that a full pool is not an outage."""

    def __init__(
        self, settings: Settings, pool: Pool, connect: Callable[[], Awaitable[Connection]]
    ) -> None:
        self.latest = Result("unavailable", "starting")
        _export(self.latest)
        self.transitions: deque[Transition] = deque(maxlen=20)
        self.history: deque[Sample] = deque(maxlen=_HISTORY)
        self._timeout = settings.readiness_timeout
        self._ttl = settings.readiness_ttl
        self._pool = pool
        self._connection = CheckConnection(connect, settings.db_connect_timeout)
        self._check: asyncio.Task[None] | None = None
        self._draining = False
        # When the next check is due, and until when the latest result may be given meanwhile.
        self._due = self._good_until = self._since = time.monotonic()

    async def check(self) -> Result:
        """Return a result at most READINESS_TTL old, within READINESS_TIMEOUT."""
        if self._draining:
            return self.latest
        check, now = self._check, time.monotonic()
        if self._connection.is_lost():
            self._good_until = now
        if check is None or (check.done() and now >= min(self._due, self._good_until)):
            # Counted from a check's start: one that took its whole time is soon made again, and
            # one that takes its usual time ends before the last result is too old to be given.
            self._due = now + self._ttl
            # In a context of its own: its log lines belong to no one request.
            self._check = check = Context().run(spawn, self._run())
        if now < self._good_until:
            return self.latest
        # Not awaited itself: a caller that leaves takes nothing with it.
        await asyncio.wait({check}, timeout=self._timeout)
        if not check.done():
            self._publish(Result("unavailable", "database_timeout", cause="the check hangs"))
        return self.latest

    def drain(self) -> None:
        """Be unavailable from now on: this instance is about to stop."""
        self._publish(Result("unavailable", "draining"))
        self._draining = True

    def close(self) -> None:
        """Let go of the connection, and of a check under way."""
        if self._check is not None:
            self._check.cancel()
        self._connection.close()

    async def _run(self) -> None:
        started = time.monotonic()
        try:
            row = await self._connection.ask(started + self._timeout * _CHECK_SHARE)
            result = self._judge(row, time.monotonic() - started)
        except asyncpg.UndefinedTableError:
            result = Result("unavailable", "migrations_pending", pending=migration_ids())
        except Exception as error:  # noqa: BLE001 - whatever it is, this instance is not ready
            cause = f"{type(error).__name__}: {error}"
            result = Result("unavailable", reason_of(error), cause=cause)
        metrics.READINESS_CHECKS.observe(time.monotonic() - started)
        self.history.append(Sample(result.checked_at, result.latency))
        if self._connection.reconnected or result.reason in _LOST:
            # The pool's connections are as dead; else requests would find it out one by one.
            await self._pool.expire_connections()
        self._publish(result)

    def _judge(self, row: asyncpg.Record, latency: float) -> Result:
        applied, known = tuple(sorted(row["applied"])), migration_ids()
        pending = tuple(name for name in known if name not in applied)
        unknown = tuple(name for name in applied if name not in known)
        status: Literal["ok", "degraded", "unavailable"] = "ok"
        reason = None
        if row["is_read_only"]:
            status, reason = "unavailable", "database_read_only"
        elif pending:
            status, reason = "unavailable", "migrations_pending"
        elif self._pool.get_size() - self._pool.get_idle_size() >= self._pool.get_max_size():
            status, reason = "degraded", "pool_saturated"
        return Result(status, reason, pending, unknown, applied, row["postgres_version"], latency)

    def _publish(self, result: Result) -> None:
        if self._draining:
            return
        previous, self.latest = self.latest, result
        _export(result)
        self._good_until = time.monotonic() + self._ttl
        if (result.status, result.reason) == (previous.status, previous.reason):
            return
        now = time.monotonic()
        lasted, self._since = round(now - self._since, 3), now
        before = previous.reason or previous.status
        self.transitions.append(
            Transition(datetime.now(UTC), result.status, result.reason, before, lasted)
        )
        logger.log(
            logging.INFO if result.reason in {None, "draining"} else logging.WARNING,
            "readiness is %s",
            result.status,
            extra={
                "reason": result.reason,
                "cause": result.cause,
                "previous": before,
                "lasted_seconds": lasted,
            },
        )


def _export(result: Result) -> None:
    metrics.READY.set(result.status != "unavailable")
    for reason in REASONS:
        metrics.READINESS_STATE.labels(reason).set(reason == (result.reason or "ok"))
