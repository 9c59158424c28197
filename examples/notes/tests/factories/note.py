"""Rows of `note`."""

from typing import Any

from groundwork.core.database import Connection
from tests.factories import insert


async def create_note(connection: Connection, **overrides: Any) -> int:
    """Create a note and return its id."""
    row = {"title": "A title", "body": "A body"} | overrides
    note_id: int = await insert(connection, "note", row)
    return note_id
