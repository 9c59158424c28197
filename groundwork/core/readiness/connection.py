"""The check's own session: kept while it works, renewed in the background, so never old."""

import asyncio
import time
from collections.abc import Callable
from weakref import WeakSet

import asyncpg

from groundwork.core.database.connections import Connect, Connection
from groundwork.core.database.errors import abandon
from groundwork.core.readiness.result import READY, ReadyRow
from groundwork.core.tasks import run_with_timeout, spawn

# A kept session is no proof that another can be opened, so after this time one is.
RENEW_SECONDS = 1.5
_RENEW_TIMEOUT = 2.0
_CLOSE_SECONDS = 1.0
_FIRST = asyncio.FIRST_COMPLETED
# After these a session proves nothing: a new one finds no table, or a server that shuts down waits
# for its sessions to end.
FINAL = (asyncpg.UndefinedTableError, asyncpg.CannotConnectNowError)


class CheckConnection:
    """The check's session, and the attempts to open the next; the first begins with a check.

    Without a session, each check makes a fresh attempt beside the oldest one and the one before; a
    renewal makes one beside the oldest. A slow but working database is reached by an old one, one
    that is back by a fresh one. The first that connects ends the others.
    """

    def __init__(self, connect: Connect, timeout: float, on_failure: Callable[[], object]) -> None:
        self.reconnected = False
        self.failure: Exception | None = None  # of the last attempt to connect
        self._connect = connect
        self._timeout = timeout
        self._on_failure = on_failure  # called when the session works but could not be renewed
        self._connection: Connection | None = None
        self._row: ReadyRow | None = None  # what the latest session found when it began
        self.begun = 0.0  # when the attempt to open it began
        self._attempted = 0.0  # when the latest attempt began, also if it failed
        self._took = 0.0  # seconds until it had that row
        self._renewal: asyncio.Task[None] | None = None
        self._attempts: list[asyncio.Task[ReadyRow]] = []
        self._connected = asyncio.Future[ReadyRow]()  # the row of the next session
        self._open = WeakSet[Connection]()

    async def query(self, deadline: float, reserve: float = 0) -> ReadyRow:
        """Return the row of sql/health/ready.sql by `deadline`, a time.monotonic().

        A connection that was lost since the last time is replaced, and the statement repeated; a
        new one must respond `reserve` seconds before the deadline.

        Raises:
            TimeoutError: no response in time.
        """
        self.reconnected = False
        if connection := self._take():
            if time.monotonic() - self._attempted >= RENEW_SECONDS:
                self._start_renewal()
            try:
                row = await _read(connection, deadline - time.monotonic())
            except TimeoutError:
                raise
            except Exception:  # noqa: BLE001 - the second attempt finds out what is wrong
                self.reconnected = True
            else:
                if row != self._row and not (self._connection or self.failure):
                    # What has changed may keep new sessions from being opened.
                    await asyncio.wait({self._start_renewal()}, timeout=deadline - time.monotonic())
                is_proof = not isinstance(self.failure, FINAL)
                # It may have been renewed while it was in use.
                self._keep(self._connection or connection if is_proof else None, connection)
                if is_proof:
                    return row
        return await self._attempt_until(deadline - reserve)

    def is_lost(self) -> bool:
        """Return whether the connection has ended since it last worked."""
        return self._connection is not None and self._connection.is_closed()

    def close(self) -> None:
        """Cancel the attempts under way, so a renewal too; terminate every connection, at once."""
        for attempt in self._attempts:
            attempt.cancel()
        for connection in self._open:
            connection.terminate()

    def _start_renewal(self) -> asyncio.Task[None]:
        if self._renewal is None or self._renewal.done():
            self._renewal = spawn(self._renew())
        return self._renewal

    async def _renew(self) -> None:
        # A distant server is no failure; another host of the address may respond after that.
        timeout = max(_RENEW_TIMEOUT, 1.5 * self._took)
        attempts = self._attempt_until(time.monotonic() + 2 * self._timeout, recent=1)
        try:
            await run_with_timeout(timeout, attempts, turns=20)
        except Exception as error:  # noqa: BLE001 - readiness says what it is
            self.failure = error
            self._on_failure()

    async def _attempt_until(self, deadline: float, recent: int = 2) -> ReadyRow:
        self._attempted = time.monotonic()
        connected, fresh = self._connected, spawn(self._attempt())
        self._attempts = [*(one for one in self._attempts if not one.done()), fresh]
        for superseded in self._attempts[1:-recent]:
            superseded.cancel()
        left = deadline - time.monotonic()
        done, _ = await asyncio.wait({fresh, connected}, timeout=left, return_when=_FIRST)
        if not done:
            message = "no response in time"
            raise TimeoutError(message)
        return (connected if connected in done else fresh).result()

    async def _attempt(self) -> ReadyRow:
        begun = time.monotonic()
        connection = await self._connect()
        self._open.add(connection)
        row = await _read(connection, self._timeout)
        self.begun, self._took = begun, time.monotonic() - begun
        self.failure, self._row = None, row
        self._keep(connection, self._connection)
        connected, self._connected = self._connected, asyncio.Future()
        connected.set_result(row)
        for other in {*self._attempts} - {asyncio.current_task()}:
            other.cancel()  # it may reach a server that was replaced
        return row

    def _take(self) -> Connection | None:
        taken, self._connection = self._connection, None
        return taken

    def _keep(self, connection: Connection | None, other: Connection | None) -> None:
        self._connection = connection
        if other is not None and other is not connection:
            spawn(other.close(timeout=_CLOSE_SECONDS))


async def _read(connection: Connection, seconds: float) -> ReadyRow:
    """Return the row within `seconds`, or terminate the connection."""
    try:
        return await run_with_timeout(seconds, READY.one(connection))
    except BaseException as error:
        if isinstance(error, asyncpg.PostgresError):
            connection.terminate()  # at once: no statement is under way
        abandon(connection)
        raise
