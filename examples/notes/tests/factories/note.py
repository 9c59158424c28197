"""Rows of `note`."""

from typing import Any

from groundwork.core.database.connections import Connection


async def create_note(connection: Connection, **overrides: Any) -> int:
    """Create a note and return its id."""
    row = {"title": "A title", "body": "A body"} | overrides
    names, numbers = ", ".join(row), ", ".join(f"${number}" for number, _ in enumerate(row, 1))
    statement = f"INSERT INTO note ({names}) VALUES ({numbers}) RETURNING id"
    note_id: int = await connection.fetchval(statement, *row.values())
    return note_id
