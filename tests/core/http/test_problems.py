"""Database errors as problem details."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from groundwork.core.database.connections import Pool
from groundwork.core.http.problems import conflict
from groundwork.core.state import State
from tests.openapi.description import is_a_problem

SHELF = """
CREATE TABLE shelf (
    name text UNIQUE, place int CONSTRAINT shelf_place UNIQUE CHECK (place > 0),
    above text REFERENCES shelf (name)
);
INSERT INTO shelf VALUES ('a', 1)
"""


async def put(request: Request[State]) -> Response:
    """Insert two rows in a transaction, and map a unique constraint and a foreign key."""
    with conflict(shelf_name_key="A shelf has this name already.", shelf_above_fkey="No."):
        async with request.state["pool"].acquire() as connection, connection.transaction():
            await connection.execute("INSERT INTO shelf VALUES ('other', 9)")
            await connection.execute(f"INSERT INTO shelf VALUES {request.query_params['row']}")
    return JSONResponse(None, 201)


async def count(request: Request[State]) -> Response:
    """Respond with the number of rows."""
    return JSONResponse(await request.state["pool"].fetchval("SELECT count(*) FROM shelf"))


@pytest.fixture
async def app(app: Starlette, pool: Pool) -> Starlette:
    """Return the application with a table and its routes."""
    await pool.execute(SHELF)
    app.router.routes += [Route("/shelf", count), Route("/shelf", put, methods=["POST"])]
    return app


async def test_a_duplicate_is_a_conflict(client: httpx.AsyncClient) -> None:
    """A violation of the named constraint is 409 with its detail, and nothing is written."""
    response = await client.post("/shelf", params={"row": "('a', 2)"})

    assert response.status_code == 409
    assert response.json()["detail"] == "A shelf has this name already."
    assert is_a_problem(response)
    assert (await client.get("/shelf")).json() == 1


@pytest.mark.parametrize("row", ["('b', 1)", "('b', -1)", "('b', 2, 'c')", "('b', 'c')"])
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
