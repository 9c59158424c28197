"""Checkouts of a pool, and its single statements, each on a connection of its own."""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, override

import asyncpg

from groundwork.core.database.connections import Connect, Connection
from groundwork.core.database.errors import unavailable

type Release = Callable[[Connection, float, BaseException | None], None]


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


class Statements:
    """What asyncpg's connection and its pool have in common, for a pool with acquire()."""

    acquire: Callable[[], AbstractAsyncContextManager[Connection]]

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """Return the rows of one statement."""
        async with self.acquire() as connection:
            return await connection.fetch(query, *args)

    async def fetchrow(self, query: str, *args: Any) -> asyncpg.Record | None:
        """Return the first row of one statement."""
        async with self.acquire() as connection:
            return await connection.fetchrow(query, *args)

    async def execute(self, query: str, *args: Any) -> str:
        """Return the status of one statement: "UPDATE 1"."""
        async with self.acquire() as connection:
            return await connection.execute(query, *args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        """Return the first value of one statement's first row."""
        async with self.acquire() as connection:
            return await connection.fetchval(query, *args)
