"""sql/health/ready.sql: what the readiness check reads."""

import pytest

from groundwork.core.config import Settings
from groundwork.core.database import Connection, Connector
from groundwork.core.readiness.result import READY


async def run(connection: Connection, statement: str) -> None:
    """Run a statement in which %I is the database."""
    await connection.execute(
        await connection.fetchval(f"SELECT format($q${statement}$q$, current_database())")
    )


@pytest.mark.parametrize(
    ("statement", "changes"),
    [
        ("ALTER DATABASE %I SET work_mem = '5MB'", True),
        ("ALTER ROLE CURRENT_USER SET work_mem = '5MB'", True),
        ("ALTER ROLE CURRENT_USER IN DATABASE %I SET work_mem = '5MB'", True),
        ("SET LOCAL default_transaction_read_only = on", True),
        ("CREATE SCHEMA box; SET LOCAL search_path = box, public", True),
        ("CREATE ROLE box IN ROLE pg_read_all_data; SET LOCAL ROLE box", True),
        ("CREATE ROLE box; ALTER ROLE box SET work_mem = '5MB'", False),
        ("ALTER DATABASE template1 SET work_mem = '5MB'", False),
        ("SET LOCAL work_mem = '5MB'", False),
    ],
)
async def test_what_a_session_is_given_is_seen(
    connection: Connection,
    statement: str,
    changes: bool,  # noqa: FBT001
) -> None:
    """A change of role, schemas or settings is one; that of another role or database is none."""
    before = await READY.one(connection)
    await run(connection, statement)
    after = await READY.one(connection)

    assert (after.session_properties != before.session_properties) is changes
    assert (after.applied, after.postgres_version) == (before.applied, before.postgres_version)


async def test_another_database_of_the_server_is_seen(
    connection: Connection, own_database: str
) -> None:
    """After DATABASE_URL_FILE has changed, new sessions may be on a copy with the same tables."""
    new = await Connector(Settings(database_url=own_database))()
    here, there = await READY.one(connection), await READY.one(new)
    await new.close()

    assert there.applied == here.applied
    assert there.session_properties != here.session_properties


async def test_a_server_is_the_same_in_every_time_zone(connection: Connection) -> None:
    """A role's settings for the display of times do not look like another server."""
    before = await READY.one(connection)
    await connection.execute("SET timezone = 'Asia/Tokyo'; SET datestyle = 'German'")
    after = await READY.one(connection)

    assert after.server == before.server
