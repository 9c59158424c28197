"""The readiness check's own connection: asked within a deadline, replaced when it fails."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from weakref import WeakSet

import asyncpg
from msgspec import Struct

from groundwork.core.database.connections import Connection
from groundwork.core.database.queries import Query
from groundwork.core.tasks import run_with_timeout, spawn

# So long a cancel request may take to reach the server, lest its statement wait there for ever.
_CANCEL_SECONDS = 1.0
_FIRST = asyncio.FIRST_COMPLETED


class Database(Struct):
    """What the check reads."""

    is_read_only: bool
    postgres_version: str
    applied: list[str]


READY = Query[Database]("health/ready")


class CheckConnection:
    """Opened when first asked, kept while it answers.

    A slow but working database, for which a connect takes longer than a check may, is reached by
    an attempt that outlives its check. One that has just come back is found at once by the fresh
    attempt beside it. So there are two at most.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], connect_timeout: float
    ) -> None:
        self.reconnected = False
        self._connect = connect
        self._connect_timeout = connect_timeout
        self._connection: Connection | None = None
        self._slow_attempt: asyncio.Task[asyncpg.Record] | None = None
        self._open = WeakSet[Connection]()

    async def ask(self, deadline: float) -> asyncpg.Record:
        """Return the row of sql/health/ready.sql by `deadline`, a time.monotonic().

        A connection that went stale since the last time is replaced, and asked once more.

        Raises:
            TimeoutError: no answer in time.
            Exception: what the database or the driver raised.
        """
        self.reconnected = False
        if self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                row = await _query(connection, deadline - time.monotonic())
            except (TimeoutError, asyncpg.UndefinedTableError):
                raise
            except Exception:  # noqa: BLE001 - the second attempt tells what is the matter
                self.reconnected = True
            else:
                self._connection = connection
                return row
        return await self._attempt_until(deadline)

    def is_lost(self) -> bool:
        """Tell whether the connection has ended since it last answered."""
        return self._connection is not None and self._connection.is_closed()

    def close(self) -> None:
        """Cancel an attempt that goes on; terminate every connection, at once."""
        if self._slow_attempt is not None:
            self._slow_attempt.cancel()
        for connection in self._open:
            connection.terminate()

    async def _attempt_until(self, deadline: float) -> asyncpg.Record:
        fresh = spawn(self._attempt())
        patient = self._slow_attempt
        waiting = {fresh} if patient is None or patient.done() else {fresh, patient}
        while True:
            left = deadline - time.monotonic()
            done, waiting = await asyncio.wait(waiting, timeout=left, return_when=_FIRST)
            winner = next((attempt for attempt in done if attempt.exception() is None), None)
            if winner is not None:
                self._slow_attempt = None
                for other in waiting:
                    other.cancel()
                return winner.result()
            if fresh in done:
                return fresh.result()  # raises what it failed with
            if not done:
                if patient in waiting:
                    fresh.cancel()
                else:
                    self._slow_attempt = fresh
                message = "no answer in time"
                raise TimeoutError(message)

    async def _attempt(self) -> asyncpg.Record:
        connection = await self._connect()
        self._open.add(connection)
        row = await _query(connection, self._connect_timeout)
        if self._connection is not None:
            self._connection.terminate()
        self._connection = connection
        return row


async def _query(connection: Connection, seconds: float) -> asyncpg.Record:
    try:
        row = await run_with_timeout(seconds, connection.fetchrow(READY.text))
    except (TimeoutError, asyncio.CancelledError):
        asyncio.get_running_loop().call_later(_CANCEL_SECONDS, connection.terminate)
        raise
    except Exception:
        connection.terminate()
        raise
    assert row is not None  # noqa: S101 - the statement always gives one row
    return row
