"""GET /health/ready."""

import httpx

from groundwork.core.config import Settings
from groundwork.core.database import migration_ids
from tests.databases import run
from tests.servers import serve


async def test_ready_with_a_migrated_database(client: httpx.AsyncClient) -> None:
    """A database that is up and migrated makes the instance ready."""
    response = await client.get("/health/ready")

    assert response.status_code == 200
    assert response.json() == {"status": "ok"}
    assert response.headers["cache-control"] == "no-store"


def test_not_ready_without_migrations(empty_database: str) -> None:
    """An empty database is not ready, and the answer names every migration."""
    with serve(DATABASE_URL=empty_database) as server:
        response = server.get("/health/ready")

    assert response.status_code == 503
    assert response.json() == {
        "status": "unavailable",
        "reason": "migrations_pending",
        "pending": list(migration_ids()),
    }


def test_not_ready_with_one_migration_missing(own_database: str) -> None:
    """One migration less than the code brings is one too few."""
    run(own_database, "DELETE FROM _yoyo_migration WHERE migration_id LIKE '0002%'")

    with serve(DATABASE_URL=own_database) as server:
        response = server.get("/health/ready")

    assert response.status_code == 503
    assert response.json()["pending"] == ["0002.create-installation"]


def test_ready_with_a_database_ahead_of_the_code(own_database: str) -> None:
    """A migration that the code does not know is no reason to stop: a release is rolled back."""
    run(own_database, "INSERT INTO _yoyo_migration VALUES ('f', '9999.from-the-future', now())")

    with serve(DATABASE_URL=own_database) as server:
        response = server.get("/health/ready")
        details = server.get("/health/details").json()

    assert response.status_code == 200
    assert details["components"]["database"]["migrations"]["unknown"] == ["9999.from-the-future"]


def test_not_ready_with_a_read_only_database(own_database: str) -> None:
    """A server that takes no writes serves nobody."""
    name = own_database.partition("?")[0].rpartition("/")[2]
    run(own_database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    with serve(DATABASE_URL=own_database) as server:
        response = server.get("/health/ready")

    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "reason": "database_read_only"}


def test_not_ready_with_a_missing_database(settings: Settings) -> None:
    """A server that refuses us is told apart from one that can't be reached."""
    with serve(DATABASE_URL=settings.database_url.replace("groundwork_test", "nowhere")) as server:
        response = server.get("/health/ready")

    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "reason": "database_rejected"}


def test_serves_before_the_database_is_up() -> None:
    """Without a database the service starts, lives, and says that it is not ready."""
    with serve(DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing") as server:
        live, ready = server.get("/health/live"), server.get("/health/ready")

    assert live.status_code == 200
    assert ready.status_code == 503
    assert ready.json() == {"status": "unavailable", "reason": "database_unreachable"}
