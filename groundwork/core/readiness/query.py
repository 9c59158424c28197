"""The statement of the readiness check, and whether its rows show that sessions are out of date."""

import time

from msgspec import Struct

from groundwork.core.database.connections import Connection
from groundwork.core.database.errors import abandon
from groundwork.core.database.queries import Query
from groundwork.core.tasks import run_with_timeout

# How long after the sessions were renewed an error may come from a plan of before.
_RENEWED_SECONDS = 5


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
    except BaseException:
        abandon(connection)
        raise


class Sessions:
    """Compares what the check's session was given when it began with what the last one was."""

    def __init__(self) -> None:
        self._last: Database | None = None
        self._renewed_at = -1.0 * _RENEWED_SECONDS

    def are_stale(self, row: Database) -> bool:
        """Return whether anything has changed: role, host, search_path, settings, migrations."""
        previous, self._last = self._last, row
        if previous in (None, row):
            return False
        self._renewed_at = time.monotonic()
        return True

    def were_renewed(self) -> bool:
        """Return whether they were replaced a moment ago."""
        return time.monotonic() - self._renewed_at < _RENEWED_SECONDS
