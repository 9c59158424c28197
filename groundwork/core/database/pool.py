"""The connection pool: bounded waits, a bounded queue, and sessions that can be renewed at once.

asyncpg's own pool has neither bound, tries dead connections one after another, keeps its idle
sessions while the server wants to shut down, and waits for a frozen server at each release.
"""

import asyncio
import logging
import time
from contextlib import AbstractAsyncContextManager
from weakref import WeakSet

from groundwork.core.database.connections import Connect, Connection
from groundwork.core.database.errors import abandon, reason_of
from groundwork.core.database.waiters import Checkout, Waiters
from groundwork.core.observability import metrics
from groundwork.core.tasks import spawn

type Executor = Connection | Pool  # a service takes either: in a transaction, or by itself

_RETRY_SECONDS, _CLOSE_SECONDS = 1.0, 1.0


class Pool:
    """Hands out connections, the most recently used first; opens them when they are needed."""

    def __init__(self, connect: Connect, max_size: int, timeout: float) -> None:
        self._connect = connect
        self.max_size = max_size
        self._generation = 0
        self._sessions: dict[Connection, int] = {}  # with the generation that each is of
        self._waiters = Waiters(max_size, timeout, self._sessions, self._release)
        self._open = WeakSet[Connection]()  # also what is being closed
        self._opening = dict[float, asyncio.Task[None]]()  # by when each attempt began
        self._retry_at = 0.0  # not 0: the latest attempt failed
        metrics.MAX_CONNECTIONS.set(max_size)
        metrics.IDLE_CONNECTIONS.set_function(self.get_idle_size)
        metrics.USED_CONNECTIONS.set_function(lambda: self.get_size() - self.get_idle_size())
        metrics.PENDING_REQUESTS.set_function(lambda: len(self._waiters))

    def acquire(self) -> AbstractAsyncContextManager[Connection]:
        """Check out a connection that is in no transaction.

        Raises:
            UnavailableError: there is none within DB_POOL_TIMEOUT, none can be opened, or the
                database failed while it was in use.
        """
        return Checkout(self._take, self._release)

    def get_size(self) -> int:
        """Return the number of open connections."""
        return sum(not session.is_closed() for session in self._sessions)

    def get_idle_size(self) -> int:
        """Return the number of open connections that are idle."""
        return sum(not session.is_closed() for session in self._waiters.idle)

    def expire(self) -> None:
        """Close every idle connection now, and each of the others when it is released."""
        self._generation += 1
        while self._waiters.idle:
            self._discard(self._waiters.idle.pop())

    def forget_sessions(self) -> None:
        """Stop counting the open connections: those in use may hang on a server that was lost."""
        self._sessions.clear()

    def retry(self, since: float) -> None:
        """Begin again the attempts that are older than one that has succeeded: they may hang."""
        for begun in [one for one in self._opening if one < since]:
            self._opening.pop(begun).cancel()
        self._open_one()

    async def close(self) -> None:
        """Close all connections within a second, also those in use; open none."""
        self.max_size = 0  # requests may still wait for a connection
        while self._opening:
            self._opening.popitem()[1].cancel()
        closing = [connection.close(timeout=_CLOSE_SECONDS) for connection in self._waiters.idle]
        await asyncio.gather(*closing, return_exceptions=True)
        for connection in self._open:
            connection.terminate()

    async def _take(self) -> Connection:
        while self._waiters.idle:
            connection = self._waiters.idle.pop()
            if not connection.is_closed():
                return connection
            self._forget(connection)
        self._open_one(joining=1)
        return await self._waiters.wait()

    def _release(self, connection: Connection, seconds: float, error: BaseException | None) -> None:
        self._waiters.mean_use += (seconds - self._waiters.mean_use) / 10
        is_old = self._sessions.get(connection) != self._generation
        if error and reason_of(error) == "database_read_only":
            is_old = True  # others may be writable: it began during a failover
        if isinstance(error, TimeoutError) or (error and not isinstance(error, Exception)):
            self._forget(connection)
            abandon(connection)  # its statement may be under way
        elif is_old or connection.is_closed() or connection.is_in_transaction():
            if error is None and connection.is_in_transaction():
                logging.getLogger(__name__).warning("rolling back a transaction that was left open")
            self._discard(connection)
        else:
            self._waiters.give(connection)

    def _open_one(self, joining: int = 0) -> None:
        """Open a connection for the waiters, unless all are open or an attempt just failed."""
        if len(self._sessions) + len(self._opening) >= self.max_size:
            return
        now = time.monotonic()
        is_wanted = len(self._opening) < len(self._waiters) + joining
        # Without a session, one attempt at a time serves all: it finds out that the outage is over.
        is_early = now < self._retry_at and (self._opening or self.get_size())
        if is_wanted and not is_early:
            if self._retry_at:
                self._pause()  # this attempt may hang
            self._opening[now] = spawn(self._open_for_waiter(now))

    async def _open_for_waiter(self, begun: float) -> None:
        try:
            connection = await self._connect()
        except Exception as error:  # noqa: BLE001 - whatever it is, the waiters get it
            self._opening.pop(begun, None)
            if not self._retry_at:
                self._pause()
            if not (self._opening or self.get_size()):
                self._waiters.fail(error)
        else:
            self._opening.pop(begun, None)
            self._retry_at = 0.0
            self._sessions[connection] = self._generation
            self._open.add(connection)
            self._waiters.give(connection)
        self._open_one()  # for requests that came during the attempt, or the pause after a failure

    def _pause(self) -> None:
        """Let the next attempt begin in a second."""
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        # A timer may fire a moment too early.
        asyncio.get_running_loop().call_later(_RETRY_SECONDS + 0.01, self._open_one)

    def _discard(self, connection: Connection) -> None:
        self._forget(connection)
        spawn(connection.close(timeout=_CLOSE_SECONDS))

    def _forget(self, connection: Connection) -> None:
        self._sessions.pop(connection, None)
        self._open_one()
