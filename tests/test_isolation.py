"""Isolation: whatever a test does is rolled back; these tests run in pairs, in any order."""

import asyncio
import contextlib
import os
import re
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import httpx
import pytest
from psycopg2.errors import LockNotAvailable
from psycopg2.extensions import parse_dsn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from groundwork.core.config import Settings
from groundwork.core.database import Connection, Connector, Pool
from groundwork.core.state import State
from tests import databases
from tests.databases import CHECKOUT, TransactionPool, database_of, run
from tests.factories.installation import create_installation
from tests.faults.proxy import Proxy
from tests.loop import Loop
from tests.servers import PATIENCE

TAKEN = UUID(int=1)


async def run_once(pool: Pool, statement: str, *parameters: object) -> object:
    """Return the first value of a statement that acquires a connection for itself."""
    async with pool.acquire() as connection:
        return await connection.fetchval(statement, *parameters)


async def rename(request: Request[State]) -> JSONResponse:
    """Update a row through the pool, as a feature would."""
    await run_once(request.state["pool"], "UPDATE installation SET id = $1", TAKEN)
    return JSONResponse(None)


async def collide(request: Request[State]) -> JSONResponse:
    """Catch a database error and run another query."""
    pool = request.state["pool"]
    try:
        await run_once(pool, "INSERT INTO installation DEFAULT VALUES")
    except asyncpg.UniqueViolationError:
        return JSONResponse(await run_once(pool, "SELECT count(*) FROM installation"), 409)
    return JSONResponse(None)


async def read_and_wait(request: Request[State]) -> JSONResponse:
    """Run several statements on one connection."""
    async with request.state["pool"].acquire() as connection:
        await connection.execute("SELECT pg_sleep(0.05)")
        return JSONResponse(await connection.fetchval("SELECT count(*) FROM installation"))


@pytest.fixture
def app(app: Starlette) -> Starlette:
    """Return the application with routes that write."""
    app.router.routes += [
        Route("/rename", rename, methods=["POST"]),
        Route("/collide", collide, methods=["POST"]),
        Route("/wait", read_and_wait),
    ]
    return app


@pytest.mark.parametrize("_", range(2))
async def test_a_write_of_a_request_is_rolled_back(
    client: httpx.AsyncClient, connection: Connection, _: int
) -> None:
    """The write of a request is visible in its test, and not in the next."""
    assert await connection.fetchval("SELECT id FROM installation") != TAKEN

    await client.post("/rename")

    assert await connection.fetchval("SELECT id FROM installation") == TAKEN


@pytest.mark.parametrize("_", range(2))
async def test_a_row_of_a_factory_is_rolled_back(connection: Connection, _: int) -> None:
    """The row of a factory is visible in its test, and not in the next."""
    assert await connection.fetchval("SELECT id FROM installation") != TAKEN

    await create_installation(connection, id=TAKEN)

    assert await connection.fetchval("SELECT id FROM installation") == TAKEN


async def test_a_write_is_invisible_to_other_sessions(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """While the test runs, no other session sees its write."""
    await client.post("/rename")

    assert run(database_url, "SELECT id FROM installation") != [(str(TAKEN),)]


async def test_a_second_session_waits_for_no_row_for_ever(
    connection: Connection, database_url: str
) -> None:
    """What the test's transaction has locked fails a session beside it after 10 s, by default."""
    await connection.execute("UPDATE installation SET id = id")

    assert run(database_url, "SHOW lock_timeout") == [("10s",)]
    with pytest.raises(LockNotAvailable, match="lock timeout"):
        run(database_url, "SET lock_timeout = '10ms'; UPDATE installation SET id = id")


async def test_a_caught_error_leaves_the_transaction_usable(client: httpx.AsyncClient) -> None:
    """After a database error that the application catches, queries still work."""
    response = await client.post("/collide")

    assert (response.status_code, response.json()) == (409, 1)


async def test_concurrent_requests_take_turns(client: httpx.AsyncClient) -> None:
    """Two concurrent requests share the one connection, and both get their response."""
    responses = await asyncio.gather(*(client.get("/wait") for _ in range(2)))

    assert [response.json() for response in responses] == [1, 1]


async def write_and_fail(connection: Connection) -> None:
    """Run a valid statement, and one that fails."""
    await connection.execute("UPDATE installation SET id = $1", TAKEN)
    await connection.execute("SELECT 1 / 0")


async def fail_and_go_on(connection: Connection) -> None:
    """Catch the error, and run another statement."""
    with contextlib.suppress(asyncpg.DivisionByZeroError):
        await write_and_fail(connection)
    await connection.execute("SELECT 1")


async def test_a_failed_transaction_is_rolled_back(pool: Pool) -> None:
    """The writes of a transaction that fails are rolled back."""
    async with pool.acquire() as acquired:
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with acquired.transaction():
                await write_and_fail(acquired)

    assert await run_once(pool, "SELECT id FROM installation") != TAKEN


async def test_writes_outside_a_transaction_stay(pool: Pool) -> None:
    """Without a transaction, writes before an error stay, as in production."""
    async with pool.acquire() as acquired:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await write_and_fail(acquired)

    assert await run_once(pool, "SELECT id FROM installation") == TAKEN


async def test_a_failed_transaction_rejects_statements(pool: Pool) -> None:
    """After an error, a transaction rejects further statements, as in production."""
    async with pool.acquire() as acquired:
        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            async with acquired.transaction():
                await fail_and_go_on(acquired)

    assert await run_once(pool, "SELECT id FROM installation") != TAKEN


async def test_a_transaction_may_have_an_isolation_level(pool: Pool) -> None:
    """It is accepted, although the transaction is a savepoint here."""
    async with (
        pool.acquire() as acquired,
        acquired.transaction(isolation="repeatable_read", readonly=True),
    ):
        assert await acquired.fetchval("SELECT count(*) FROM installation") == 1


async def test_a_deferred_constraint_is_checked_at_the_end(pool: Pool) -> None:
    """A transaction, and a statement outside of one, fails as its COMMIT would, and not before."""
    await run_once(pool, "CREATE TABLE box (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(asyncpg.UniqueViolationError):
        await run_once(pool, "INSERT INTO box VALUES (1), (1)")
    for repair, fails in (("UPDATE box SET id = 2", True), ("DELETE FROM box", False)):
        with pytest.raises(asyncpg.UniqueViolationError) if fails else contextlib.nullcontext():
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("INSERT INTO box VALUES (1), (1)")
                await connection.execute(repair)

    assert await run_once(pool, "SELECT count(*) FROM box") == 0


async def test_the_pool_within_a_transaction_is_an_error(pool: Pool) -> None:
    """A statement on the pool, instead of the transaction's connection, would wait for ever."""
    async with pool.acquire() as acquired, acquired.transaction():
        with pytest.raises(RuntimeError, match="pass the connection"):
            await run_once(pool, "SELECT 1")

    assert await run_once(pool, "SELECT 1") == 1


async def test_a_released_connection_is_an_error(pool: Pool) -> None:
    """In production, the statement would be part of another request's transaction."""
    async with pool.acquire() as connection:
        assert await connection.fetchval("SELECT 1") == 1

    with pytest.raises(RuntimeError, match="has been released"):
        await connection.fetchval("SELECT 1")
    with pytest.raises(RuntimeError, match="has been released"):
        async with connection.transaction():
            await connection.execute("SELECT 1")
    assert await run_once(pool, "SELECT 1") == 1


async def test_a_task_within_a_transaction_that_waits_for_it_is_an_error(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that waits for the connection of the transaction it belongs to would never end."""
    monkeypatch.setattr(databases, "_TURN_SECONDS", 0.1)
    async with pool.acquire() as acquired, acquired.transaction():
        with pytest.raises(RuntimeError, match="pass the connection"):
            await asyncio.gather(run_once(pool, "SELECT 1"))

    assert await run_once(pool, "SELECT 1") == 1


@pytest.mark.parametrize("_", range(2))
async def test_a_committed_transaction_is_rolled_back(pool: Pool, _: int) -> None:
    """A committed transaction is visible in its test, and not in the next."""
    assert await run_once(pool, "SELECT id FROM installation") != TAKEN

    async with pool.acquire() as acquired, acquired.transaction():
        await acquired.execute("UPDATE installation SET id = $1", TAKEN)

    assert await run_once(pool, "SELECT id FROM installation") == TAKEN


@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK"])
async def test_a_test_that_ends_its_transaction_fails(settings: Settings, statement: str) -> None:
    """What a test writes after it has ended its transaction would stay, so it fails."""
    pool = TransactionPool(Connector(settings))
    await (await pool.connection()).execute(statement)

    with pytest.raises(AssertionError, match="has ended its transaction"):
        await pool.close()


async def test_a_test_may_lose_its_connection(
    client: httpx.AsyncClient, connection: Connection
) -> None:
    """A test may end its connection; then the server rolls back, and requests get 503."""
    connection.terminate()

    response = await client.post("/rename")

    assert (response.status_code, response.headers["retry-after"]) == (503, "1")


def test_a_failing_test_is_rolled_back(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, server_url: str, database_url: str
) -> None:
    """A test that writes and then fails leaves the database unchanged."""
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


@pytest.mark.parametrize(
    "server",
    [
        "postgresql:///postgres?host=/run/postgresql",
        "postgresql://postgres:p%40ss@127.0.0.1:5432/postgres",
        "host=/run/postgresql user=postgres",
        "host=a,b",
    ],
)
def test_the_tests_server_may_have_any_address(server: str) -> None:
    """TEST_DATABASE_URL is whatever psql takes: each database of a test gets a URL from it."""
    url = database_of(server, "test")
    used = {name: value for name, value in parse_dsn(url).items() if value}

    assert used == {"user": used["user"]} | parse_dsn(server) | {"dbname": "test"}
    assert urlsplit(url).path == "/test"


def test_the_user_of_a_service_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where TEST_DATABASE_URL has no user, its service may have one; else it is the account."""
    (file := tmp_path / "services").write_text("[mine]\nuser=somebody\nhost=h\n")
    monkeypatch.setenv("PGSERVICEFILE", str(file))

    parts = parse_dsn(database_of("service=mine", "test"))

    assert (parts["user"], parts["host"], parts["dbname"]) == ("somebody", "h", "test")


def test_an_open_transport_fails_its_test() -> None:
    """Closing the event loop with an open transport raises an error that names it."""

    async def leave_open(end: socket.socket) -> None:
        await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=end)

    end, other = socket.socketpair()
    with other, pytest.raises(ResourceWarning, match="Transport"):
        asyncio.run(leave_open(end), loop_factory=Loop)


def run_tests(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in the current folder as from another shell, with its own server."""
    kept = {name: text for name, text in os.environ.items() if not re.match("PYTEST|TEST_", name)}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-n0", "-q", "-p", "no:cacheprovider", *arguments],
        env=kept | {"PYTHONPATH": str(CHECKOUT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_shell_of_a_developer_does_not_count() -> None:
    """Settings, PG* and OTEL_* variables, a proxy and `.env` of the caller change no test."""
    Path(".env").write_text("PORT=x")
    shell = {"ENVIRONMENT": "production", "DEBUG_FILE": "/nowhere", "PGSERVICE": "another"}
    proxies = dict.fromkeys(("http_proxy", "ALL_PROXY"), "http://127.0.0.1:1")
    shell["OTEL_SDK_DISABLED"] = "true"
    one = f"{CHECKOUT}/tests/test_commands.py::test_responses_do_not_name_the_server"
    traced = "test_tracing.py::test_a_span_inside_a_request_changes_no_id"
    other = f"{CHECKOUT}/tests/core/observability/{traced}"

    done = run_tests(one, other, **shell, **proxies)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("option", ["--collect-only", "--setup-plan"])
def test_a_run_of_no_test_misses_no_response(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a run of all tests has to see every response that is described."""
    monkeypatch.chdir(CHECKOUT)

    done = run_tests(option, "-o", "testpaths=tests/test_listen.py")

    assert done.returncode == 0, done.stdout


def test_a_variable_that_a_test_removes_is_there_for_the_next(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, server_url: str
) -> None:
    """TEST_DATABASE_URL may need PGPASSWORD or the like, which some of our code removes."""
    monkeypatch.setenv("TEST_DATABASE_URL", server_url)
    monkeypatch.setenv("PGPASSWORD", "secret")
    pytester.makeconftest("from tests.conftest import *")
    removes = "from os import environ\ndef test_a(): del environ['PGPASSWORD']\n"
    file = pytester.makepyfile(f"{removes}def test_b(): assert environ['PGPASSWORD']")

    pytester.runpytest_inprocess(file).assert_outcomes(passed=2)


def test_a_migration_that_fails_ends_the_run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, server_url: str
) -> None:
    """Its message is there once, and not for each test that needs the database."""
    monkeypatch.setenv("TEST_DATABASE_URL", server_url)
    failed = subprocess.CompletedProcess((), 1, "", "0003.create-note failed: LINE 4: tilte")
    monkeypatch.setattr("tests.conftest.migrate", lambda _: failed)
    pytester.makeconftest("from tests.conftest import *")
    file = pytester.makepyfile("def test_a(migrated): pass\ndef test_b(migrated): pass")

    result = pytester.runpytest_inprocess(file)

    result.assert_outcomes(errors=1)
    assert failed.stderr in result.outlines


def test_a_proxy_ends_though_a_client_has_reset_its_connection() -> None:
    """What the client sent is still delayed, so the proxy has the closed connection."""
    with (
        socket.create_server(("127.0.0.1", 0)) as upstream,
        Proxy(upstream.getsockname()[1]).running() as proxy,
    ):
        proxy.set("pass", PATIENCE)
        with socket.create_connection(address := ("127.0.0.1", proxy.port)) as client:
            client.sendall(b"x")
            time.sleep(0.2)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        time.sleep(0.2)

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
