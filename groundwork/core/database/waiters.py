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

# Set for each request: a function that raises once its client has disconnected.
client_disconnect: ContextVar[Callable[[], Coroutine[Any, Any, None]] | None] = ContextVar(
    "client_disconnect", default=None
)


class Waiters:
    """First come, first served, each for a limited time and while its client is connected."""

    def __init__(self) -> None:
        self.idle: list[Connection] = []
        self._queue: deque[asyncio.Future[Connection]] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    async def wait(self, seconds: float, refuse: Callable[[], UnavailableError]) -> Connection:
        """Return the connection that is given to this waiter.

        Raises:
            UnavailableError: what `refuse` returns after so many seconds, or what fail() sets.
            Exception: what client_disconnect raises.
        """
        started = time.monotonic()
        waiter: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._queue.append(waiter)
        watch = client_disconnect.get()
        waiting: set[asyncio.Future[Any]] = {waiter, spawn(watch())} if watch else {waiter}
        try:
            done, _ = await asyncio.wait(
                waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                metrics.TIMEOUTS.inc()
                raise refuse()
            return (waiter if waiter in done else done.pop()).result()
        except asyncio.CancelledError:
            if waiter.done() and waiter.exception() is None:
                self.give(waiter.result())
            raise
        finally:
            metrics.WAIT_TIME.observe(time.monotonic() - started)
            for future in waiting:
                future.cancel()
            if waiter in self._queue:
                self._queue.remove(waiter)

    def give(self, connection: Connection) -> None:
        """Give a connection to the first waiter, or let it be idle."""
        if self._queue:
            self._queue.popleft().set_result(connection)
        else:
            self.idle.append(connection)

    def fail(self, error: Exception) -> None:
        """Let every waiter fail: no connection can be opened, and none will be released."""
        for waiter in self._queue:
            failure = UnavailableError(connect_reason_of(error))
            failure.__cause__ = error
            waiter.set_exception(failure)
        self._queue.clear()
