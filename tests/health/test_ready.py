"""GET /health/ready."""

import httpx

from groundwork.core.database.connections import migration_ids
from tests.conftest import Serving
from tests.databases import run


async def test_ready_with_a_migrated_database(client: httpx.AsyncClient) -> None:
    """A database that is up and migrated makes the instance ready."""
    response = await client.get("/health/ready")

    assert response.status_code == 200
    assert response.json() == {"status": "ok"}
    assert response.headers["cache-control"] == "no-store"


async def test_not_ready_without_migrations(serving: Serving, empty_database: str) -> None:
    """An empty database is not ready, and the answer names every migration."""
    async with serving(empty_database) as client:
        response = await client.get("/health/ready")

    assert response.status_code == 503
    assert response.json() == {
        "status": "unavailable",
        "reason": "migrations_pending",
        "pending": list(migration_ids()),
    }


async def test_not_ready_with_one_migration_missing(serving: Serving, own_database: str) -> None:
    """One migration less than the code brings is one too few."""
    run(own_database, "DELETE FROM _yoyo_migration WHERE migration_id LIKE '0002%'")

    async with serving(own_database) as client:
        response = await client.get("/health/ready")

    assert response.status_code == 503
    assert response.json()["pending"] == ["0002.create-installation"]


async def test_ready_with_a_database_ahead_of_the_code(serving: Serving, own_database: str) -> None:
    """A migration that the code does not know is no reason to stop: a release is rolled back."""
    run(own_database, "INSERT INTO _yoyo_migration VALUES ('f', '9999.from-the-future', now())")

    async with serving(own_database) as client:
        response = await client.get("/health/ready")
        details = (await client.get("/health/details")).json()

    assert response.status_code == 200
    assert details["components"]["database"]["migrations"]["unknown"] == ["9999.from-the-future"]


async def test_not_ready_with_a_read_only_database(serving: Serving, own_database: str) -> None:
    """A server that takes no writes serves nobody."""
    name = own_database.partition("?")[0].rpartition("/")[2]
    run(own_database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    async with serving(own_database) as client:
        response = await client.get("/health/ready")

    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "reason": "database_read_only"}


async def test_not_ready_with_a_missing_database(serving: Serving, database_url: str) -> None:
    """A server that refuses us is told apart from one that can't be reached."""
    async with serving(database_url.replace("groundwork_test", "nowhere")) as client:
        response = await client.get("/health/ready")

    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "reason": "database_rejected"}


async def test_serves_before_the_database_is_up(serving: Serving) -> None:
    """Without a database the service starts, lives, and says that it is not ready."""
    async with serving("postgresql://nobody@127.0.0.1:1/nothing") as client:
        live, ready = await client.get("/health/live"), await client.get("/health/ready")

    assert live.status_code == 200
    assert ready.status_code == 503
    assert ready.json() == {"status": "unavailable", "reason": "database_unreachable"}
