"""The row of `installation`."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from groundwork.core.database import Connection
from tests.factories import insert

_YESTERYEAR = datetime(2025, 1, 1, tzinfo=UTC)


async def create_installation(connection: Connection, **overrides: Any) -> dict[str, Any]:
    """Replace the row that the migration created, and return the new one."""
    row = {"id": uuid4(), "created_at": _YESTERYEAR, "updated_at": _YESTERYEAR} | overrides
    await connection.execute("DELETE FROM installation")
    await insert(connection, "installation", row)
    return row
