"""Connections that are idle or in use, and the requests that wait for one."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sized
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import Any, override

from msgspec import Struct

from groundwork.core.database.connections import Connect, Connection
from groundwork.core.database.errors import UnavailableError, connect_reason_of, unavailable
from groundwork.core.observability import metrics
from groundwork.core.tasks import spawn

type Release = Callable[[Connection, float, BaseException | None], None]
type Watch = Callable[[], Coroutine[Any, Any, None]]

# Set for each request: a function that raises once its client has disconnected.
client_disconnect: ContextVar[Watch | None] = ContextVar("client_disconnect", default=None)
_QUEUE_PER_CONNECTION = 100
# A wait lasts for a number of turns of one timer: a blocked event loop uses up one turn, not the
# whole timeout.
_TURNS, _TURN_SECONDS = 20, 0.25  # at least 20 turns, each 0.25 s at most
# Watching a client takes a task, so an overloaded service does so for long waits only.
_WATCHED_AFTER = 4


class Checkout(AbstractAsyncContextManager[Connection]):
    """A connection in use: it is released with its seconds of use and its exception, if any."""

    def __init__(self, take: Connect, release: Release) -> None:
        self._take, self._release = take, release

    @override
    async def __aenter__(self) -> Connection:
        self._connection = await self._take()
        self._started = time.monotonic()
        return self._connection

    @override
    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._release(self._connection, time.monotonic() - self._started, error)
        if error and (translated := unavailable(error, self._connection)):
            raise translated


class _Waiter(Struct, eq=False):
    connection: asyncio.Future[Connection]
    watch: Watch | None
    turns: int = 0


class Waiters:
    """First come, first served, each for a limited time and while its client is connected."""

    def __init__(self, size: int, timeout: float, sessions: Sized, release: Release) -> None:
        self.idle: list[Connection] = []
        self.mean_use = 0.0  # seconds for which a connection is in use
        self._max_connections = size
        self._timeout = timeout
        self._turns = max(_TURNS, math.ceil(timeout / _TURN_SECONDS))
        self._turn_seconds = timeout / self._turns
        self._sessions, self._release = sessions, release  # the pool's
        self._queue: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._queue)

    async def wait(self) -> Connection:
        """Return the connection that is given to this waiter.

        Raises:
            UnavailableError: after the timeout, at once in a long queue, or what fail() sets.
            Exception: what client_disconnect raises.
        """
        waiting = len(self._queue)
        late = waiting + len(self._sessions) - self._max_connections  # for others there is room
        due = late * self.mean_use / self._max_connections
        if due > self._timeout or waiting >= self._max_connections * _QUEUE_PER_CONNECTION:
            raise self._timed_out()
        started, loop = time.monotonic(), asyncio.get_running_loop()
        waiter = _Waiter(loop.create_future(), client_disconnect.get())
        self._queue.append(waiter)
        if self._timer is None:
            self._timer = loop.call_later(self._turn_seconds, self._turn)
        try:
            return await waiter.connection
        except BaseException:
            if waiter in self._queue:
                self._queue.remove(waiter)
            elif not waiter.connection.cancelled() and waiter.connection.exception() is None:
                self._release(waiter.connection.result(), self.mean_use, None)
            raise
        finally:
            metrics.WAIT_TIME.observe(time.monotonic() - started)

    def give(self, connection: Connection) -> None:
        """Give a connection to the first waiter, or keep it idle."""
        while self._queue:
            waiter = self._queue.popleft().connection
            if not waiter.done():
                waiter.set_result(connection)
                return
        self.idle.append(connection)

    def fail(self, error: Exception) -> None:
        """Let every waiter fail: no connection can be opened, and none will be released."""
        for waiter in self._queue:
            _fail(waiter.connection, UnavailableError(connect_reason_of(error), error))
        self._queue.clear()

    def _timed_out(self) -> UnavailableError:
        metrics.TIMEOUTS.inc()
        timeout = TimeoutError("no connection within DB_POOL_TIMEOUT")
        return UnavailableError("pool_saturated" if self._sessions else "database_timeout", timeout)

    def _turn(self) -> None:
        """End the waits whose time is over; watch the clients of those that take long."""
        for waiter in self._queue:
            waiter.turns += 1
            if waiter.turns == _WATCHED_AFTER and waiter.watch:
                _watch(waiter.connection, waiter.watch)
            if waiter.turns == self._turns:
                _fail(waiter.connection, self._timed_out())
        self._timer = None
        if self._queue:
            self._timer = asyncio.get_running_loop().call_later(self._turn_seconds, self._turn)


def _watch(waiter: asyncio.Future[Connection], watch: Watch) -> None:
    task = spawn(watch())
    task.add_done_callback(lambda end: _fail(waiter, None if end.cancelled() else end.exception()))
    waiter.add_done_callback(lambda _: task.cancel())


def _fail(waiter: asyncio.Future[Connection], error: BaseException | None) -> None:
    if error is not None and not waiter.done():
        waiter.set_exception(error)
