"""Rows for tests: one function per table, with the connection first and overrides by keyword."""

from collections.abc import Mapping
from typing import Any

from groundwork.core.database import Connection


async def insert(connection: Connection, table: str, row: Mapping[str, Any]) -> Any:
    """Insert a row and return its id."""
    names, numbers = ", ".join(row), ", ".join(f"${number}" for number, _ in enumerate(row, 1))
    statement = f"INSERT INTO {table} ({names}) VALUES ({numbers}) RETURNING id"
    return await connection.fetchval(statement, *row.values())
