"""Readiness: one check in flight, its result shared, within the caller's timeout."""

import asyncio
import time
from contextvars import Context
from math import inf

from msgspec.structs import replace

from groundwork.core.config import Settings
from groundwork.core.database.connections import Connect
from groundwork.core.database.errors import reason_of
from groundwork.core.database.pool import Pool
from groundwork.core.observability import metrics
from groundwork.core.observability.event_loop import LoopMonitor
from groundwork.core.readiness.connection import FINAL, CheckConnection
from groundwork.core.readiness.result import READY, History, ReadyRow, Result
from groundwork.core.tasks import run_with_timeout, spawn

_OUTAGES = ("database_unreachable", "database_timeout")
_LOST = ("starting", *_OUTAGES)
_CHECK_SHARE = 0.95  # it ends a little before its callers' timeout: they get what it found
# How long after the sessions were renewed an error may come from a plan prepared before.
_RENEWED_SECONDS = 5.0
_MAX_LATE = 4  # late checks in a row: the database may be gone, too


class Readiness:
    """Queries the database on a connection of its own, so that a full pool is not an outage."""

    def __init__(self, settings: Settings, pool: Pool, connect: Connect, loop: LoopMonitor) -> None:
        self.history = History()
        self._timeout = settings.readiness_timeout
        self._ttl = settings.readiness_ttl
        self._pool = pool
        self.loop_monitor = loop
        self._blocked = 0.0
        self._connection = CheckConnection(connect, settings.db_connect_timeout, self._recheck)
        self._check: asyncio.Task[None] | None = None
        self._row: ReadyRow | None = None
        self._late = 0  # checks in a row that a blocked event loop made late
        self._renewed_at = -_RENEWED_SECONDS
        self._begun = -inf  # when the latest check began; -inf: the next is due

    async def check(self) -> Result:
        """Return a result of the last READINESS_TTL, or 1 s if not ok, within READINESS_TIMEOUT."""
        check, now, latest = self._check, time.monotonic(), self.history.latest
        if latest.reason == "draining":
            return latest
        is_old = now - self._begun >= (min(self._ttl, 1.0) if latest.reason else self._ttl)
        if check is None or (check.done() and (is_old or self._connection.is_lost())):
            self._begun = now
            self._blocked = self.loop_monitor.blocked_seconds
            self._check = check = spawn(self._run())
        # Not awaited itself: what cancels a caller must not cancel the check.
        if not check.done() and not (await asyncio.wait({check}, timeout=self._timeout))[0]:
            self._publish(self._failed(TimeoutError("the check hangs")))
        return self.history.latest

    async def keep_checking(self) -> None:
        """Check all the time, so that what changes is noticed without a probe; never return."""
        while True:
            await self.check()
            await asyncio.sleep(max(self._begun + 1.0 - time.monotonic(), 0.25))

    async def sessions_were_renewed(self) -> bool:
        """Check now; return whether the sessions were replaced within the last 5 s."""
        self._begun = -inf
        for _ in range(2):  # a check that is under way may have begun before the change
            await self.check()
        return time.monotonic() - self._renewed_at < _RENEWED_SECONDS

    def drain(self) -> None:
        """Be unavailable from now on: this instance is about to stop."""
        self._publish(Result("unavailable", "draining"))

    def close(self) -> None:
        """Close the connection, and cancel a check under way."""
        if self._check is not None:
            self._check.cancel()
        self._connection.close()

    async def _run(self) -> None:
        started, failure, is_stale = time.monotonic(), None, False
        try:
            row, failure = await self._query(started + self._timeout * _CHECK_SHARE)
        except Exception as error:  # noqa: BLE001 - whatever it is, this instance is not ready
            result = self._failed(error)
            if result.reason == "migrations_pending":
                self._row = None  # the pool may have opened sessions that find no table either
        else:
            result = Result.of(row, self._pool, failure, time.monotonic() - started)
            is_stale = failure is None and self._are_stale(row)
        metrics.READINESS_CHECKS.observe(time.monotonic() - started)
        self._late = self._late + 1 if result.reason == "event_loop_blocked" else 0
        if self._late >= _MAX_LATE:
            result = replace(result, status="unavailable")
        self.history.results.append(result)
        is_lost = result.status == "unavailable" and result.reason in _LOST
        if is_stale or is_lost or (self._connection.reconnected and failure is None):
            # Else requests would find out one by one that the pool's sessions are old or dead,
            # and a server that shuts down would wait for them.
            self._pool.expire()
        if is_stale or (self.history.latest.reason in _OUTAGES and result.reason not in _OUTAGES):
            self._pool.retry(self._connection.begun)
        self._publish(result)

    async def _query(self, deadline: float) -> tuple[ReadyRow, Exception | None]:
        """Return the row, and why no new connection can be opened, if so.

        Without a session of the check's own, an idle one of the pool shows whether those serve; if
        all are in use, and the server only rejects another, what was found last holds.
        """
        try:
            reserve = self._timeout / 4 if self._pool.get_idle_size() else 0
            row = await self._connection.query(deadline, reserve)
        except Exception as error:
            left = deadline - time.monotonic()
            final = isinstance(error, FINAL) or self._failed(error).reason == "event_loop_blocked"
            if left > self._timeout / 10 and self._pool.get_idle_size() and not final:
                return await run_with_timeout(left, READY.one(self._pool)), error
            if self._row and self._pool.get_size() and reason_of(error) == "database_rejected":
                return self._row, error
            raise
        return row, self._connection.failure

    def _are_stale(self, row: ReadyRow) -> bool:
        """Return whether what sessions are given has changed: role, host, settings, migrations."""
        before, self._row = self._row, row
        if before and before.server != row.server:
            self._pool.forget_sessions()
        # Without a row until now, the failure may be for what sessions were given.
        if is_stale := before != row and bool(before or self.history.latest.reason not in _LOST):
            self._renewed_at = time.monotonic()
        return is_stale

    def _failed(self, error: Exception) -> Result:
        blocked = self.loop_monitor.blocked_seconds - self._blocked
        return Result.of_failure(error, blocked, self._timeout)

    def _recheck(self) -> None:
        self._begun = -inf
        spawn(self.check())

    def _publish(self, result: Result) -> None:
        latest = self.history.latest
        # A late check of a blocked event loop is no proof that an outage is over.
        is_proof = result.reason != "event_loop_blocked" or latest.status != "unavailable"
        if is_proof and latest.reason != "draining":
            Context().run(self.history.publish, result)  # its log line is of no request
