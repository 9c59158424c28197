"""The statement of the readiness check."""

import asyncpg
from msgspec import Struct

from groundwork.core.database.connections import Connection
from groundwork.core.database.errors import abandon
from groundwork.core.database.queries import Query
from groundwork.core.tasks import run_with_timeout


class ReadyRow(Struct):
    """The row of sql/health/ready.sql."""

    is_read_only: bool
    server: str
    postgres_version: str
    applied: list[str]
    session_properties: str


READY = Query[ReadyRow]("health/ready")


async def query_until(connection: Connection, seconds: float) -> ReadyRow:
    """Return the row within `seconds`, or terminate the connection."""
    try:
        return await run_with_timeout(seconds, READY.one(connection))
    except BaseException as error:
        if isinstance(error, asyncpg.PostgresError):
            connection.terminate()  # at once: no statement is under way
        abandon(connection)
        raise
