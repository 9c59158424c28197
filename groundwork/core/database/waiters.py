"""Idle connections, and the requests that wait for one."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

from groundwork.core.database.connections import Connection
from groundwork.core.database.errors import UnavailableError, connect_reason_of
from groundwork.core.observability import metrics
from groundwork.core.tasks import spawn

type Watch = Callable[[], Coroutine[Any, Any, None]]

# Set for each request: a function that raises once its client has disconnected.
client_disconnect: ContextVar[Watch | None] = ContextVar("client_disconnect", default=None)
_QUEUE_PER_CONNECTION = 100
# Until then a wait costs next to nothing; to watch its client takes a task, which a service that
# has too much to do cannot afford for each request.
_SHORT_SECONDS = 0.5


class Waiters:
    """First come, first served, each for a limited time and while its client is connected."""

    def __init__(self, max_connections: int) -> None:
        self.mean_use = 0.0  # seconds for which a connection is in use
        self._max_connections = max_connections
        self.idle: list[Connection] = []
        self._queue: deque[asyncio.Future[Connection]] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    async def wait(self, seconds: float, refuse: Callable[[], UnavailableError]) -> Connection:
        """Return the connection that is given to this waiter.

        Raises:
            UnavailableError: what `refuse` returns after so many seconds, or at once if they would
                not do; or what fail() sets.
            Exception: what client_disconnect raises.
        """
        due = len(self) * self.mean_use / self._max_connections
        if due > seconds or len(self) >= self._max_connections * _QUEUE_PER_CONNECTION:
            metrics.TIMEOUTS.inc()
            raise refuse()
        started, loop = time.monotonic(), asyncio.get_running_loop()
        waiter: asyncio.Future[Connection] = loop.create_future()
        self._queue.append(waiter)
        short = min(seconds / 2, _SHORT_SECONDS)
        timer = loop.call_later(short, _watch, waiter, seconds - short, refuse)
        try:
            return await waiter
        except BaseException:
            if waiter in self._queue:
                self._queue.remove(waiter)
            elif not waiter.cancelled() and waiter.exception() is None:
                self.give(waiter.result())
            raise
        finally:
            timer.cancel()
            metrics.WAIT_TIME.observe(time.monotonic() - started)

    def give(self, connection: Connection) -> None:
        """Give a connection to the first waiter, or let it be idle."""
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self.idle.append(connection)

    def fail(self, error: Exception) -> None:
        """Let every waiter fail: no connection can be opened, and none will be released."""
        for waiter in self._queue:
            failure = UnavailableError(connect_reason_of(error))
            failure.__cause__ = error
            _fail(waiter, failure)
        self._queue.clear()


def _watch(
    waiter: asyncio.Future[Connection], seconds: float, refuse: Callable[[], UnavailableError]
) -> None:
    """End a wait when its time is over or its client has disconnected."""
    timer = asyncio.get_running_loop().call_later(seconds, _time_out, waiter, refuse)
    waiter.add_done_callback(lambda _: timer.cancel())
    if watch := client_disconnect.get():
        task = spawn(watch())
        task.add_done_callback(
            lambda done: _fail(waiter, None if done.cancelled() else done.exception())
        )
        waiter.add_done_callback(lambda _: task.cancel())


def _time_out(waiter: asyncio.Future[Connection], refuse: Callable[[], UnavailableError]) -> None:
    metrics.TIMEOUTS.inc()
    _fail(waiter, refuse())


def _fail(waiter: asyncio.Future[Connection], error: BaseException | None) -> None:
    if error is not None and not waiter.done():
        waiter.set_exception(error)
