"""The statement of the readiness check."""

import asyncio

from msgspec import Struct

from groundwork.core.database.connections import Connection
from groundwork.core.database.queries import Query
from groundwork.core.tasks import run_with_timeout

# Time allowed for a cancel request to reach the server.
CANCEL_SECONDS = 1.0


class Database(Struct):
    """What the check reads."""

    is_read_only: bool
    postgres_version: str
    applied: list[str]
    session_properties: str


READY = Query[Database]("health/ready")


async def query_until(connection: Connection, seconds: float) -> Database:
    """Return the row within so many seconds; else the connection is terminated."""
    try:
        return await run_with_timeout(seconds, READY.one(connection))
    except (TimeoutError, asyncio.CancelledError):
        asyncio.get_running_loop().call_later(CANCEL_SECONDS, connection.terminate)
        raise
    except Exception:
        connection.terminate()
        raise
