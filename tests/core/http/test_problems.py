"""Database errors as problem details."""

from pathlib import Path
from unittest.mock import AsyncMock, Mock

import asyncpg
import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groundwork.core.database import Pool, UnavailableError, queries
from groundwork.core.database.queries import Query
from groundwork.core.http.problems import conflict, found
from groundwork.core.readiness.result import Result
from groundwork.core.state import State
from tests.openapi.description import is_a_problem

SHELF = """
CREATE TABLE shelf (
    name text UNIQUE, place int CONSTRAINT shelf_place UNIQUE CHECK (place > 0),
    above text REFERENCES shelf (name)
);
INSERT INTO shelf VALUES ('a', 1)
"""


LOST = UnavailableError("database_unreachable")


async def put(request: Request[State]) -> Response:
    """Insert two rows in a transaction, and map a unique constraint and a foreign key."""
    with conflict(shelf_name_key="A shelf has this name already.", shelf_above_fkey="It is gone."):
        async with request.state["pool"].acquire() as connection, connection.transaction():
            await connection.execute("INSERT INTO shelf VALUES ('other', 9)")
            await connection.execute(f"INSERT INTO shelf VALUES {request.query_params['row']}")
    return JSONResponse(None, 201)


async def misspell(request: Request[State]) -> Response:
    """Run a file of sql/ that has an error."""
    await Query[int]("shelf/count").all(request.state["pool"])
    raise AssertionError


async def lose(_: Request) -> Response:
    """Meet a database that is gone."""
    raise LOST


async def count(request: Request[State]) -> Response:
    """Respond with the number of rows."""
    async with request.state["pool"].acquire() as connection:
        return JSONResponse(await connection.fetchval("SELECT count(*) FROM shelf"))


@pytest.fixture
async def app(app: Starlette, pool: Pool) -> Starlette:
    """Return the application with a table and its routes."""
    async with pool.acquire() as connection:
        await connection.execute(SHELF)
    app.router.routes += [
        Route("/shelf", count),
        Route("/shelf", put, methods=["POST"]),
        Route("/misspelt", misspell),
        Route("/lost", lose),
    ]
    return app


@pytest.mark.parametrize(
    ("row", "detail"),
    [("('a', 2)", "A shelf has this name already."), ("('b', 2, 'c')", "It is gone.")],
)
async def test_a_named_violation_is_a_conflict(
    client: httpx.AsyncClient, row: str, detail: str
) -> None:
    """A violation of the named constraint is 409 with its detail, and nothing is written."""
    response = await client.post("/shelf", params={"row": row})

    assert response.status_code == 409
    assert response.json()["detail"] == detail
    assert is_a_problem(response)
    assert (await client.get("/shelf")).json() == 1


@pytest.mark.parametrize("row", ["('b', 1)", "('b', -1)", "('b', 'c')"])
async def test_any_other_violation_is_500(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, row: str
) -> None:
    """A violation of any other constraint is 500, and only the log has the database's message."""
    response = await client.post("/shelf", params={"row": row})

    assert response.status_code == 500
    assert response.json()["detail"] == "An unexpected error."
    assert "asyncpg.exceptions." in caplog.text
    assert "KeyError" not in caplog.text
    assert (await client.get("/shelf")).json() == 1


async def test_a_new_row_is_written(client: httpx.AsyncClient) -> None:
    """Without a violation, the response is the handler's own."""
    response = await client.post("/shelf", params={"row": "('b', 2)"})

    assert response.status_code == 201
    assert (await client.get("/shelf")).json() == 3


@pytest.fixture
def sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a file of sql/ with a misspelt column."""
    monkeypatch.setattr(queries, "SQL_DIR", tmp_path)
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf/count.sql").write_text("-- Counts.\nSELECT count(nmae) FROM shelf")


@pytest.mark.parametrize("settings", [{"debug": True}], indirect=True)
@pytest.mark.usefixtures("sql")
@pytest.mark.parametrize("accept", ["*/*", "text/html"])
async def test_debug_shows_where_sql_failed(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, accept: str
) -> None:
    """With DEBUG the response has file, line and column of the SQL, and so has the log."""
    response = await client.get("/misspelt", headers={"Accept": accept})

    assert response.status_code == 500
    assert "in sql/shelf/count.sql:2:14" in response.text
    assert "in sql/shelf/count.sql:2:14" in caplog.text


@pytest.mark.parametrize("settings", [{"debug": True}], indirect=True)
@pytest.mark.usefixtures("sql")
async def test_pending_migrations_are_named(
    client: httpx.AsyncClient, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a table or column is missing while migrations are pending, the error names them."""
    result = Result("unavailable", "migrations_pending", pending=("0009.add-nmae",))
    monkeypatch.setattr(state["readiness"], "check", AsyncMock(return_value=result))

    response = await client.get("/misspelt")

    assert "pending migrations; `groundwork migrate` applies them: 0009.add-nmae" in response.text


@pytest.mark.parametrize("settings", [{"debug": True}], indirect=True)
async def test_any_other_error_names_no_migrations(
    client: httpx.AsyncClient, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no table or column is missing, pending migrations are not the cause."""
    result = Result("unavailable", "migrations_pending", pending=("0009.add-nmae",))
    monkeypatch.setattr(state["readiness"], "check", AsyncMock(return_value=result))

    response = await client.post("/shelf", params={"row": "('b', -1)"})

    assert response.status_code == 500
    assert "pending migrations" not in response.text


def test_a_row_that_is_not_there_is_404() -> None:
    """None instead of a row is 404; a row is returned as it is."""
    with pytest.raises(HTTPException) as raised:
        found(None)

    assert raised.value.status_code == 404
    assert found(0) == 0


@pytest.mark.parametrize(
    ("error", "status"),
    [(asyncpg.UndefinedColumnError("gone"), 503), (asyncpg.CheckViolationError("bug"), 500)],
)
async def test_a_migration_explains_only_what_may_come_of_it(
    client: httpx.AsyncClient,
    state: State,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
) -> None:
    """Just after a migration a prepared statement may not fit; any other error stays a bug."""
    monkeypatch.setattr(state["readiness"], "sessions_were_renewed", AsyncMock(return_value=True))
    monkeypatch.setattr(state["pool"], "acquire", Mock(side_effect=error))

    assert (await client.get("/shelf")).status_code == status


def caused(error: Exception) -> Exception:
    """Return an error that the loss of the database has caused."""
    error.__cause__ = LOST
    return error


class Guard:
    """A middleware of a feature that raises before any route is reached."""

    def __init__(self, app: ASGIApp, error: Exception) -> None:
        self.app, self.error = app, error

    async def __call__(self, _scope: Scope, _receive: Receive, _send: Send) -> None:
        """Raise the error."""
        raise self.error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (HTTPException(401), 401),
        (HTTPException(499), 499),
        (LOST, 503),
        (asyncpg.QueryCanceledError("cancelled"), 503),
        (ExceptionGroup("both", [LOST, ExceptionGroup("inner", [LOST])]), 503),
        (ExceptionGroup("one is a bug", [LOST, HTTPException(404), ValueError()]), 500),
        (ExceptionGroup("one is missing", [LOST, HTTPException(404)]), 404),
        (ExceptionGroup("not the database's", [TimeoutError(), FileNotFoundError()]), 500),
        (asyncpg.UndefinedTableError("no table"), 500),
        (caused(ValueError()), 500),
        (caused(RuntimeError()), 500),
    ],
)
async def test_an_exception_of_a_middleware_has_the_same_response(
    app: Starlette, client: httpx.AsyncClient, error: Exception, status: int
) -> None:
    """What a middleware raises, such as one that looks up a user, is handled as a route's is."""
    app.user_middleware.append(Middleware(Guard, error))
    response = await client.get("/shelf")

    assert response.status_code == status
    assert is_a_problem(response)


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_is_no_problem(
    app: Starlette, client: httpx.AsyncClient, status: int
) -> None:
    """As with Starlette, HTTPException(304) is a response without a body, with its headers."""
    error = HTTPException(status, headers={"ETag": '"1"'})
    app.user_middleware.append(Middleware(Guard, error))
    response = await client.get("/shelf")

    assert (response.status_code, response.headers["etag"], response.text) == (status, '"1"', "")
    assert "content-type" not in response.headers


class Marker:
    """A middleware of a feature that adds a header to each response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""

        async def send_with_mark(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-mark", b"yes")]
            await send(message)

        await self.app(scope, receive, send_with_mark)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/shelf", 200),
        ("GET", "/nowhere", 404),
        ("PUT", "/shelf", 405),
        ("POST", "/shelf?row=('a', 2)", 409),
        ("GET", "/lost", 503),
    ],
)
async def test_a_middleware_sees_every_response(
    app: Starlette, client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    """As with Starlette, an exception of a route or the router is a response to a middleware."""
    app.user_middleware.append(Middleware(Marker))
    response = await client.request(method, path)

    assert (response.status_code, response.headers["x-mark"]) == (status, "yes")
