"""The way to PostgreSQL: the pool, single connections, and the SQL files."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from groundwork.core.config import Settings

type Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
type Pool = asyncpg.Pool[asyncpg.Record]
type Executor = Connection | Pool  # a service takes either: in a transaction, or by itself

# What a lost, late or refusing database raises; a refused connection is an OSError.
ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
# After these libpq asks the next host as well; a wrong password is wrong everywhere.
_TRY_NEXT_HOST = (
    OSError,
    asyncpg.CannotConnectNowError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.TargetServerAttributeNotMatched,
)


class UnreachableError(ConnectionError):
    """The pool could open no connection; its cause says why."""


# What a request meets when the database is lost, before its statement or in the middle of it.
CONNECTION_ERRORS = (
    UnreachableError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)

_PACKAGE = Path(__file__).parents[2]
# A wheel carries sql/ inside the package, a checkout beside it.
SQL_DIR = next(path for path in (_PACKAGE / "sql", _PACKAGE.parent / "sql") if path.is_dir())


class Connector:
    """Opens connections to DATABASE_URL, for the pool and for the readiness check.

    asyncpg's timeout is for the whole list of hosts, so a silent one would hide those behind it:
    here each host has its share of DB_CONNECT_TIMEOUT, and the last good one is asked first.
    """

    def __init__(self, settings: Settings) -> None:
        self._url = settings.database_url
        self._hosts = _hosts(settings.database_url)
        self._timeout = settings.db_connect_timeout / len(self._hosts)
        self._options: dict[str, Any] = {
            "command_timeout": settings.db_command_timeout,
            "statement_cache_size": settings.db_statement_cache_size,
        }

    async def __call__(self, _: None = None, **options: Any) -> Connection:
        """Open one connection; the pool passes a DSN, none, and options of its own.

        Raises:
            OSError: unreachable, or TimeoutError after DB_CONNECT_TIMEOUT.
            asyncpg.PostgresError: refused by the server.
            asyncpg.TargetServerAttributeNotMatched: no host is what target_session_attrs wants.
        """
        options |= self._options
        for host in tuple(self._hosts):
            try:
                connection: Connection = await asyncpg.connect(
                    self._url, timeout=self._timeout, **host, **options
                )
            except _TRY_NEXT_HOST as error:
                failure = error
            else:
                self._hosts.remove(host)
                self._hosts.insert(0, host)
                return connection
        raise failure


def create_pool(settings: Settings, connect: Connector) -> Pool:
    """Return a pool that connects when it is first used, so a start needs no database.

    A connection goes back as it is, but for an open transaction, which is rolled back: asyncpg's
    own reset doubles the time of a short query, and no statement here changes its session.
    """

    async def open_connection(*args: Any, **options: Any) -> Connection:
        try:
            return await connect(*args, **options)
        except ERRORS as error:
            raise UnreachableError from error

    options: dict[str, Any] = {"connect": open_connection, "reset": _no_reset}
    return asyncpg.create_pool(min_size=0, max_size=settings.db_pool_max_size, **options)


async def _no_reset(_: Connection) -> None:
    """Reset nothing."""


def _hosts(url: str) -> list[dict[str, Any]]:
    """Return host and port for each of several hosts; for one, leave it to asyncpg."""
    listed = urlsplit(url).netloc.rpartition("@")[2].split(",")
    if len(listed) == 1:
        return [{}]
    split = [urlsplit(f"//{host}") for host in listed]
    return [{"host": host.hostname, "port": host.port or 5432} for host in split]
