"""Requests whose database connection, client or task is lost."""

import asyncio
import dataclasses
import logging
from collections.abc import AsyncGenerator
from unittest.mock import AsyncMock

import asyncpg
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from groundwork.core.config import Settings
from groundwork.core.database import Connector, Pool
from groundwork.core.state import State
from tests.openapi.description import is_a_problem

NOWHERE = "postgresql://nobody:s3cret@127.0.0.1:1/nothing"


async def leave(request: Request[State]) -> JSONResponse:
    """End the session of this statement."""
    statement = "SELECT pg_terminate_backend(pg_backend_pid())"
    async with request.state["pool"].acquire() as connection:
        return JSONResponse(await connection.fetchval(statement))


async def use_old_plan(request: Request[State]) -> JSONResponse:
    """Fail as a statement does whose table, type or function was changed or replaced."""
    message = "cached plan must not change result type"
    raise getattr(asyncpg, request.query_params["error"])(message)


async def fail(_: Request[State]) -> JSONResponse:
    """Fail as a route's own files and sockets do."""
    raise ConnectionResetError


async def wait_in_group(request: Request[State]) -> None:
    """Run a statement that times out in a TaskGroup."""
    async with request.state["pool"].acquire() as connection, asyncio.TaskGroup() as group:
        group.create_task(connection.execute("SELECT pg_sleep(20)", timeout=0.1))


async def await_cancelled(_: Request[State]) -> JSONResponse:
    """Wait for what is cancelled meanwhile."""
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    return JSONResponse(await future)


async def leave_early(_: Request[State]) -> JSONResponse:
    """Fail as queries of a TaskGroup do that wait for connections when the client disconnects."""
    message = "both"
    raise ExceptionGroup(message, [ClientDisconnect(), ClientDisconnect()])


async def stream_early(request: Request[State]) -> StreamingResponse:
    """Fail likewise once the response has started."""

    async def stream() -> AsyncGenerator[str]:
        yield "row"
        await leave_early(request)

    return StreamingResponse(stream())


@pytest.fixture
async def pool(settings: Settings, request: pytest.FixtureRequest) -> AsyncGenerator[Pool]:
    """Give a real pool, on the test's database or on another."""
    url = getattr(request, "param", None) or settings.database_url
    other = dataclasses.replace(settings, database_url=url)
    pool = Pool(Connector(other), other.db_pool_max_size, other.db_pool_timeout)
    yield pool
    await pool.close()


@pytest.fixture
def app(app: Starlette) -> Starlette:
    """Give the application with routes that lose their database."""
    app.router.routes += [
        Route("/leave", leave),
        Route("/fail", fail),
        Route("/plan", use_old_plan),
        Route("/cancelled", await_cancelled),
        Route("/group", wait_in_group),
        Route("/early", leave_early),
        Route("/stream", stream_early),
    ]
    return app


@pytest.mark.parametrize("pool", [None, NOWHERE], ids=["lost", "never there"], indirect=True)
async def test_a_lost_database_is_503(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The response is 503 with Retry-After; the log has one line with the cause, no traceback."""
    response = await client.get("/leave")

    assert (response.status_code, is_a_problem(response)) == (503, True)
    assert response.headers["retry-after"] == "1"
    (entry,) = [one for one in caplog.records if one.name == "groundwork.core.http.problems"]
    assert (entry.levelno, entry.exc_info) == (logging.WARNING, None)
    assert vars(entry)["cause"].startswith(("AdminShutdownError: ", "ConnectionRefusedError: "))
    assert "s3cret" not in response.text + caplog.text + vars(entry)["cause"]


async def test_another_lost_connection_is_500(client: httpx.AsyncClient) -> None:
    """Only a lost connection to the database is 503."""
    response = await client.get("/fail")

    assert (response.status_code, is_a_problem(response)) == (500, True)


async def test_a_timeout_of_a_statement_in_a_task_group_is_503(client: httpx.AsyncClient) -> None:
    """It is the database's, while a TimeoutError of the feature's own is a bug."""
    assert (await client.get("/group")).status_code == 503


@pytest.mark.parametrize("error", ["InvalidCachedStatementError", "InternalServerError"])
@pytest.mark.parametrize("renewed", [True, False])
async def test_a_plan_from_before_a_migration_may_be_retried(
    client: httpx.AsyncClient,
    state: State,
    monkeypatch: pytest.MonkeyPatch,
    error: str,
    renewed: object,
) -> None:
    """If the sessions were just replaced, the plan may be an old one; otherwise it is a bug."""
    monkeypatch.setattr(
        state["readiness"], "sessions_were_renewed", AsyncMock(return_value=renewed)
    )

    response = await client.get(f"/plan?error={error}")

    assert response.status_code == (503 if renewed else 500)


@pytest.mark.parametrize(
    ("draining", "expected"),
    [(False, (500, "unhandled exception")), (True, (503, "request cancelled by the shutdown"))],
)
async def test_a_cancelled_request_has_a_problem(
    client: httpx.AsyncClient,
    state: State,
    caplog: pytest.LogCaptureFixture,
    draining: bool,  # noqa: FBT001 - a parameter of the test
    expected: tuple[int, str],
) -> None:
    """At the end of the grace period it is 503, at any other time a bug; both are in the log."""
    state["lifecycle"].draining = draining
    response = await client.get("/cancelled")

    assert (response.status_code, caplog.messages[-2]) == expected
    assert is_a_problem(response)


@pytest.mark.parametrize(("path", "status"), [("/early", 499), ("/stream", 200)])
async def test_a_disconnect_within_a_task_group_is_no_error(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, path: str, status: int
) -> None:
    """What waits for a connection when its client disconnects may be several queries at once."""
    caplog.set_level(logging.INFO, "groundwork")
    with pytest.raises(AssertionError):  # the transport wants a whole response
        await client.get(path)

    assert caplog.messages[-2:] == ["client disconnected", f"GET {path} {status}"]
