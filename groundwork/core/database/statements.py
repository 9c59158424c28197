"""Single statements on a pool, each on a connection of its own."""

from abc import abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncpg

from groundwork.core.database.connections import Connection


class Statements:
    """What asyncpg's connection and its pool have in common, for a pool with acquire()."""

    @abstractmethod
    def acquire(self) -> AbstractAsyncContextManager[Connection]:
        """Check out a connection."""

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
