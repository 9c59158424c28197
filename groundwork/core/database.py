"""The way to PostgreSQL: the pool, single connections, and the SQL files."""

import asyncio
from collections.abc import Coroutine
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from groundwork.core.config import Settings

type Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
type Pool = asyncpg.Pool[asyncpg.Record]

# What a lost, late or refusing database raises; a refused connection is an OSError.
ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

_PACKAGE = Path(__file__).parents[1]
# A wheel carries sql/ inside the package, a checkout beside it.
SQL_DIR = next(path for path in (_PACKAGE / "sql", _PACKAGE.parent / "sql") if path.is_dir())


@cache
def sql(name: str) -> str:
    """Return the statement in sql/<name>.sql; "health/ready" for instance."""
    return (SQL_DIR / f"{name}.sql").read_text("utf-8")


@cache
def migration_ids() -> tuple[str, ...]:
    """Return the ids of the migrations this code brings: file names without .sql, in order."""
    names = (path.name for path in (SQL_DIR / "migrations").glob("*.sql"))
    return tuple(
        sorted(name.removesuffix(".sql") for name in names if not name.endswith(".rollback.sql"))
    )


def create_pool(settings: Settings) -> Pool:
    """Return a pool that connects when it is first used, so a start needs no database."""
    return asyncpg.create_pool(
        settings.database_url,
        min_size=0,
        max_size=settings.db_pool_max_size,
        timeout=settings.db_connect_timeout,
        command_timeout=settings.db_command_timeout,
        statement_cache_size=settings.db_statement_cache_size,
    )


async def connect(settings: Settings) -> Connection:
    """Open one connection outside the pool.

    Raises:
        OSError: unreachable, or TimeoutError after DB_CONNECT_TIMEOUT.
        asyncpg.PostgresError: refused by the server.
    """
    return await asyncpg.connect(
        settings.database_url,
        timeout=settings.db_connect_timeout,
        command_timeout=settings.db_command_timeout,
        statement_cache_size=settings.db_statement_cache_size,
    )


async def within[T](seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Await work for so long at most, even where its cancellation would hang.

    A connection's release waits, shielded, for the server's answer, and asyncio.timeout() with
    it; so the work is cancelled, but not waited for.

    Raises:
        TimeoutError: it took longer.
    """
    task = asyncio.create_task(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        task.cancel()
        message = f"no answer within {seconds} s"
        raise TimeoutError(message)
    return task.result()
