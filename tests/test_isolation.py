"""A test leaves nothing behind, whatever it does: these run in pairs and in any order."""

import asyncio
import contextlib
import socket
from uuid import UUID

import asyncpg
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from groundwork.core.database.connections import Connection, Pool
from groundwork.core.state import State
from tests.databases import run
from tests.factories.installation import create_installation
from tests.loop import Loop

TAKEN = UUID(int=1)


async def rename(request: Request[State]) -> JSONResponse:
    """Write through the pool, as a feature would."""
    status = await request.state["pool"].execute("UPDATE installation SET id = $1", TAKEN)
    return JSONResponse(status)


async def collide(request: Request[State]) -> JSONResponse:
    """Provoke an error of the database, catch it, and go on."""
    pool = request.state["pool"]
    try:
        await pool.execute("INSERT INTO installation DEFAULT VALUES")
    except asyncpg.UniqueViolationError:
        return JSONResponse(await pool.fetchval("SELECT count(*) FROM installation"), 409)
    return JSONResponse(None)


async def read_and_wait(request: Request[State]) -> JSONResponse:
    """Hold a connection over several statements."""
    async with request.state["pool"].acquire() as connection:
        await connection.execute("SELECT pg_sleep(0.05)")
        return JSONResponse(await connection.fetchval("SELECT count(*) FROM installation"))


@pytest.fixture
def app(app: Starlette) -> Starlette:
    """Give the application with routes that write."""
    app.router.routes += [
        Route("/rename", rename, methods=["POST"]),
        Route("/collide", collide, methods=["POST"]),
        Route("/wait", read_and_wait),
    ]
    return app


@pytest.mark.parametrize("_", range(2))
async def test_a_write_through_http_is_gone(
    client: httpx.AsyncClient, connection: Connection, _: int
) -> None:
    """A request's write is seen within its test, and never by the next."""
    assert await connection.fetchval("SELECT id FROM installation") != TAKEN

    await client.post("/rename")

    assert await connection.fetchval("SELECT id FROM installation") == TAKEN


@pytest.mark.parametrize("_", range(2))
async def test_a_write_in_sql_is_gone(connection: Connection, _: int) -> None:
    """A factory's row is seen within its test, and never by the next."""
    assert await connection.fetchval("SELECT id FROM installation") != TAKEN

    await create_installation(connection, id=TAKEN)

    assert await connection.fetchval("SELECT id FROM installation") == TAKEN


async def test_nobody_else_sees_a_write(client: httpx.AsyncClient, database_url: str) -> None:
    """Even while the test runs, its write is in no other session."""
    await client.post("/rename")

    assert run(database_url, "SELECT id FROM installation") != [(str(TAKEN),)]


async def test_an_error_caught_spoils_nothing(client: httpx.AsyncClient) -> None:
    """An error that the application catches leaves the transaction usable."""
    response = await client.post("/collide")

    assert (response.status_code, response.json()) == (409, 1)


async def test_requests_at_once_take_turns(client: httpx.AsyncClient) -> None:
    """Two requests at once share the one connection and both get their answer."""
    responses = await asyncio.gather(*(client.get("/wait") for _ in range(2)))

    assert [response.json() for response in responses] == [1, 1]


async def write_and_fail(connection: Connection) -> None:
    """Run one statement that is right, and one that is not."""
    await connection.execute("UPDATE installation SET id = $1", TAKEN)
    await connection.execute("SELECT 1 / 0")


async def fail_and_go_on(connection: Connection) -> None:
    """Catch the error, and run one statement more."""
    with contextlib.suppress(asyncpg.DivisionByZeroError):
        await write_and_fail(connection)
    await connection.execute("SELECT 1")


async def test_a_failing_transaction_is_undone(pool: Pool) -> None:
    """What a transaction wrote before it failed is rolled back."""
    async with pool.acquire() as acquired:
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with acquired.transaction():
                await write_and_fail(acquired)

    assert await pool.fetchval("SELECT id FROM installation") != TAKEN


async def test_without_a_transaction_nothing_is_undone(pool: Pool) -> None:
    """What was written before a failure stays, as in production: a test shows what is missing."""
    async with pool.acquire() as acquired:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await write_and_fail(acquired)

    assert await pool.fetchval("SELECT id FROM installation") == TAKEN


async def test_a_failed_transaction_takes_no_more(pool: Pool) -> None:
    """After an error within a transaction only its end is possible, as in production."""
    async with pool.acquire() as acquired:
        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            async with acquired.transaction():
                await fail_and_go_on(acquired)

    assert await pool.fetchval("SELECT id FROM installation") != TAKEN


@pytest.mark.parametrize("_", range(2))
async def test_a_transaction_is_gone(pool: Pool, _: int) -> None:
    """What a transaction commits is seen within its test, and never by the next."""
    assert await pool.fetchval("SELECT id FROM installation") != TAKEN

    async with pool.acquire() as acquired, acquired.transaction():
        await acquired.execute("UPDATE installation SET id = $1", TAKEN)

    assert await pool.fetchval("SELECT id FROM installation") == TAKEN


def test_a_failing_test_leaks_nothing(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, server_url: str, database_url: str
) -> None:
    """A test that writes and then fails leaves the database as it was."""
    monkeypatch.setenv("TEST_DATABASE_URL", server_url)
    pytester.makeconftest("from tests.conftest import *")
    file = pytester.makepyfile(
        """
        from tests.factories.installation import create_installation

        async def test_writes_and_fails(connection):
            await create_installation(connection)
            assert False
        """
    )
    before = run(database_url, "SELECT * FROM installation")

    pytester.runpytest_inprocess(file, "-o", "anyio_mode=auto").assert_outcomes(failed=1)

    assert run(database_url, "SELECT * FROM installation") == before


def test_a_transport_left_open_fails_its_test() -> None:
    """Closing the event loop raises an error that names what is open, and never hangs."""

    async def leave_open(end: socket.socket) -> None:
        await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=end)

    end, other = socket.socketpair()
    with other, pytest.raises(ResourceWarning, match="Transport"):
        asyncio.run(leave_open(end), loop_factory=Loop)
