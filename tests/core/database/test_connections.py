"""Connections, the common columns, and the pool."""

import asyncio
import dataclasses
from datetime import UTC, datetime
from unittest.mock import AsyncMock, call

import asyncpg
import pytest

from groundwork.core.config import Settings
from groundwork.core.database.connections import (
    Connection,
    Connector,
    create_pool,
)
from tests.factories.installation import create_installation

TWO_HOSTS = "postgresql://us:s3,cret@first,second:5433/db"


async def test_a_transaction_left_open_is_rolled_back(settings: Settings) -> None:
    """A connection that comes back in the middle of a transaction is clean for the next."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # asyncpg reports it there
    async with create_pool(settings, Connector(settings)) as pool:
        async with pool.acquire() as connection:
            await connection.transaction().start()
            await connection.execute("DELETE FROM installation")

        async with pool.acquire() as connection:
            assert not connection.is_in_transaction()
            assert await connection.fetchval("SELECT count(*) FROM installation") == 1


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> AsyncMock:
    """Give what stands for asyncpg.connect()."""
    connect = AsyncMock()
    monkeypatch.setattr(asyncpg, "connect", connect)
    return connect


@pytest.mark.parametrize("url", [TWO_HOSTS, "postgresql://first,second:5433/db"])
async def test_each_host_has_its_share_of_the_time(connect: AsyncMock, url: str) -> None:
    """A silent host hides no other, the last good one is asked first, and settings are kept."""
    connect.side_effect = [TimeoutError(), "second", "again"]
    connector = Connector(Settings(database_url=url, db_connect_timeout=4))

    opened: list[object] = [await connector(), await connector(loop="its own")]

    first, second = ({"host": "first", "port": 5432}, {"host": "second", "port": 5433})
    options = {"timeout": 2.0, "command_timeout": 30.0, "statement_cache_size": 100}
    assert opened == ["second", "again"]
    assert connect.await_args_list == [
        call(url, **options, **first),
        call(url, **options, **second),
        call(url, **options, **second, loop="its own"),
    ]


async def test_a_refusal_is_not_asked_for_again(connect: AsyncMock) -> None:
    """A wrong password is wrong everywhere; where no host can be reached, the last one says why."""
    connector = Connector(Settings(database_url=TWO_HOSTS))
    connect.side_effect = [asyncpg.InvalidPasswordError()]
    with pytest.raises(asyncpg.InvalidPasswordError):
        await connector()

    connect.side_effect = [ConnectionRefusedError(), asyncpg.CannotConnectNowError()]
    with pytest.raises(asyncpg.CannotConnectNowError):
        await connector()


async def test_the_pool_has_its_size(settings: Settings) -> None:
    """It connects when it is first used, and never more than it may."""
    settings = dataclasses.replace(settings, db_pool_max_size=3)
    async with create_pool(settings, Connector(settings)) as pool:
        assert (pool.get_size(), pool.get_max_size()) == (0, 3)


async def test_updated_at_is_kept(connection: Connection) -> None:
    """An UPDATE moves updated_at to now and leaves created_at."""
    row = await create_installation(connection, updated_at=datetime(2025, 1, 1, tzinfo=UTC))

    await connection.execute("UPDATE installation SET id = id")

    after = await connection.fetchrow("SELECT *, now() AS now FROM installation")
    assert after is not None
    assert after["updated_at"] == after["now"]
    assert after["created_at"] == row["created_at"]
