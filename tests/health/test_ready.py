"""GET /health/ready."""

from unittest.mock import AsyncMock

import httpx
import pytest

from groundwork.core.database.migration_files import migration_ids
from groundwork.core.readiness.result import Result
from groundwork.core.state import State
from tests.conftest import Serving
from tests.databases import run


async def test_ready_with_a_migrated_database(client: httpx.AsyncClient) -> None:
    """The instance is ready if the database is up and migrated."""
    response = await client.get("/health/ready")

    assert response.status_code == 200
    assert response.json() == {"status": "ok"}
    assert response.headers["cache-control"] == "no-store"


async def test_a_degraded_instance_is_ready(
    client: httpx.AsyncClient, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The response is 200, and its body has the reason."""
    result = Result("degraded", "pool_saturated")
    monkeypatch.setattr(state["readiness"], "check", AsyncMock(return_value=result))
    response = await client.get("/health/ready")

    assert response.status_code == 200
    assert response.json() == {"status": "degraded", "reason": "pool_saturated"}


async def test_not_ready_without_migrations(serving: Serving, empty_database: str) -> None:
    """With an empty database, the response is 503 and lists every migration."""
    async with serving(empty_database) as client:
        response = await client.get("/health/ready")

    assert response.status_code == 503
    assert response.json() == {
        "status": "unavailable",
        "reason": "migrations_pending",
        "pending": list(migration_ids()),
    }


async def test_not_ready_with_one_migration_missing(serving: Serving, own_database: str) -> None:
    """A single missing migration makes the instance not ready, and is named."""
    run(own_database, "DELETE FROM _yoyo_migration WHERE migration_id LIKE '0002%'")

    async with serving(own_database) as client:
        response = await client.get("/health/ready")

    assert response.status_code == 503
    assert response.json()["pending"] == ["0002.create-installation"]


async def test_ready_with_a_database_ahead_of_the_code(serving: Serving, own_database: str) -> None:
    """After the rollback of a release, an unknown migration leaves the instance ready."""
    run(own_database, "INSERT INTO _yoyo_migration VALUES ('f', '9999.from-the-future', now())")

    async with serving(own_database) as client:
        response = await client.get("/health/ready")
        details = (await client.get("/health/details")).json()

    assert response.status_code == 200
    assert details["components"]["database"]["migrations"]["unknown"] == ["9999.from-the-future"]


async def test_not_ready_with_a_read_only_database(serving: Serving, own_database: str) -> None:
    """A read-only server makes the instance not ready."""
    name = own_database.partition("?")[0].rpartition("/")[2]
    run(own_database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    async with serving(own_database) as client:
        response = await client.get("/health/ready")

    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "reason": "database_read_only"}


async def test_not_ready_with_a_missing_database(serving: Serving, database_url: str) -> None:
    """A rejected connection has another reason than an unreachable server."""
    async with serving(database_url.replace("groundwork_test", "nowhere")) as client:
        response = await client.get("/health/ready")

    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "reason": "database_rejected"}


async def test_startup_needs_no_database(serving: Serving) -> None:
    """Without a database the service starts, is live and is not ready."""
    async with serving("postgresql://nobody@127.0.0.1:1/nothing") as client:
        live, ready = await client.get("/health/live"), await client.get("/health/ready")

    assert live.status_code == 200
    assert ready.status_code == 503
    assert ready.json() == {"status": "unavailable", "reason": "database_unreachable"}
