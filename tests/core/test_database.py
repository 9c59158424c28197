"""The SQL files, the common columns, and bounded waiting."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from groundwork.core.database import SQL_DIR, Connection, migration_ids, sql, within
from tests.factories import create_installation

QUERIES = sorted(path for path in SQL_DIR.rglob("*.sql") if path.parent.name != "migrations")


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_every_query_can_be_prepared(connection: Connection, path: Path) -> None:
    """Each file is one statement that fits the schema, under a comment that says its question."""
    text = sql(f"{path.parent.name}/{path.stem}")

    assert text.startswith("-- ")
    assert (await connection.prepare(text)).get_attributes()


def test_migrations_are_listed_without_their_rollbacks() -> None:
    """Migration ids are file names, in order."""
    assert migration_ids()[:2] == ("0001.create-set-updated-at", "0002.create-installation")


async def test_updated_at_is_kept(connection: Connection) -> None:
    """An UPDATE moves updated_at to now and leaves created_at."""
    row = await create_installation(connection, updated_at=datetime(2025, 1, 1, tzinfo=UTC))

    await connection.execute("UPDATE installation SET id = id")

    after = await connection.fetchrow("SELECT *, now() AS now FROM installation")
    assert after is not None
    assert after["updated_at"] == after["now"]
    assert after["created_at"] == row["created_at"]


async def test_within_returns_what_comes_in_time() -> None:
    """Work that ends in time gives its result."""
    assert await within(1, asyncio.sleep(0, "done")) == "done"


async def test_within_does_not_wait_for_a_cancellation_that_hangs() -> None:
    """Work that resists its cancellation delays nobody."""
    released = asyncio.Event()

    async def stubborn() -> None:
        try:
            await released.wait()
        finally:
            await released.wait()

    with pytest.raises(TimeoutError):
        await within(0.01, stubborn())
    released.set()
