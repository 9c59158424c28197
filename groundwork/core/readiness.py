"""Can this instance serve? One check in flight, its answer shared, within the caller's budget."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

import asyncpg

from groundwork.core.config import Settings
from groundwork.core.database import Connection, Pool, migration_ids, sql

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """What a check found. Latency in seconds; `cause` is for the log, never for an answer."""

    status: Literal["ok", "degraded", "unavailable"]
    reason: str | None = None
    pending: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    applied: tuple[str, ...] = ()
    server_version: str | None = None
    latency: float | None = None
    cause: str | None = None
    checked_at: float = field(default_factory=time.monotonic)


class Readiness:
    """Asks the database on a connection of its own, so that a full pool is not an outage."""

    def __init__(
        self,
        settings: Settings,
        pool: Pool,
        connect: Callable[[Settings], Awaitable[Connection]],
    ) -> None:
        self.latest = Result("unavailable", "starting")
        self._settings = settings
        self._pool = pool
        self._connect = connect
        self._connection: Connection | None = None
        self._draining = False
        self._check: asyncio.Task[None] | None = None
        self._checked = self._since = time.monotonic()

    async def check(self) -> Result:
        """Return a result at most READINESS_TTL old, within READINESS_TIMEOUT."""
        if self._draining:
            return self.latest
        fresh = time.monotonic() - self._checked < self._settings.readiness_ttl
        if self._check is None or (self._check.done() and not fresh):
            self._checked = time.monotonic()
            self._check = asyncio.create_task(self._run())
        if not self._check.done():
            # Shared and not awaited: a caller that leaves takes nothing with it.
            await asyncio.wait({self._check}, timeout=self._settings.readiness_timeout)
        if not self._check.done():
            self._publish(Result("unavailable", "database_timeout", cause="no answer in time"))
        return self.latest

    def drain(self) -> None:
        """Be unavailable from now on: this instance is about to stop."""
        self._draining = True
        self._publish(Result("unavailable", "draining"))

    def close(self) -> None:
        """Let go of the connection, and of a check under way."""
        if self._check is not None:
            self._check.cancel()
        if self._connection is not None:
            self._connection.terminate()

    async def _run(self) -> None:
        started = time.monotonic()
        try:
            if self._connection is None:
                self._connection = await self._connect(self._settings)
            row = await self._connection.fetchrow(sql("health/ready"))
            assert row is not None  # noqa: S101 - the statement always gives one row
            result = self._judge(row, time.monotonic() - started)
        except Exception as error:  # noqa: BLE001 - whatever it is, this instance is not ready
            if self._connection is not None:
                self._connection.terminate()
                self._connection = None
            result = _failure(error)
        self._publish(result)

    def _judge(self, row: asyncpg.Record, latency: float) -> Result:
        applied = tuple(row["applied"])
        pending = tuple(sorted(set(migration_ids()) - set(applied)))
        unknown = tuple(sorted(set(applied) - set(migration_ids())))
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
        if self._draining and result.reason != "draining":
            return
        previous, self.latest = self.latest, result
        if (result.status, result.reason) == (previous.status, previous.reason):
            return
        now = time.monotonic()
        lasted, self._since = round(now - self._since, 3), now
        logger.log(
            logging.INFO if result.status == "ok" else logging.WARNING,
            "readiness is %s",
            result.status,
            extra={
                "reason": result.reason,
                "cause": result.cause,
                "previous": previous.reason or previous.status,
                "lasted_seconds": lasted,
            },
        )


def _failure(error: Exception) -> Result:
    if isinstance(error, asyncpg.UndefinedTableError):
        return Result("unavailable", "migrations_pending", pending=migration_ids())
    return Result("unavailable", _reason(error), cause=f"{type(error).__name__}: {error}")


def _reason(error: Exception) -> str:
    """Sort an error by its class and SQLSTATE; its text is for the log alone."""
    match error:
        case TimeoutError() | asyncpg.QueryCanceledError():
            return "database_timeout"
        case asyncpg.TargetServerAttributeNotMatched():
            return "database_read_only"
        # Class 08 is a lost connection, 57 a server that is starting or stopping.
        case asyncpg.PostgresError(sqlstate=str(code)) if not code.startswith(("08", "57")):
            return "database_rejected"
        case _:
            return "database_unreachable"
