"""Errors of the database as problems."""

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
    """Insert a row after another, and map a unique constraint, and one that is not."""
    with conflict(shelf_name_key="A shelf has this name already.", shelf_above_fkey="No."):
        async with request.state["pool"].acquire() as connection, connection.transaction():
            await connection.execute("INSERT INTO shelf VALUES ('other', 9)")
            await connection.execute(f"INSERT INTO shelf VALUES {request.query_params['row']}")
    return JSONResponse(None, 201)


async def count(request: Request[State]) -> Response:
    """Answer how many rows there are."""
    return JSONResponse(await request.state["pool"].fetchval("SELECT count(*) FROM shelf"))


@pytest.fixture
async def app(app: Starlette, pool: Pool) -> Starlette:
    """Give the application with a table and its routes."""
    await pool.execute(SHELF)
    app.router.routes += [Route("/shelf", count), Route("/shelf", put, methods=["POST"])]
    return app


async def test_a_name_taken_is_a_conflict(client: httpx.AsyncClient) -> None:
    """The constraint that the route names is 409 in its words, and nothing is written."""
    response = await client.post("/shelf", params={"row": "('a', 2)"})

    assert response.status_code == 409
    assert response.json()["detail"] == "A shelf has this name already."
    assert is_a_problem(response)
    assert (await client.get("/shelf")).json() == 1


@pytest.mark.parametrize("row", ["('b', 1)", "('b', -1)", "('b', 2, 'c')", "('b', 'c')"])
async def test_any_other_error_is_a_fault(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, row: str
) -> None:
    """Another constraint, unique or not, is 500; the database's words are for the log."""
    response = await client.post("/shelf", params={"row": row})

    assert response.status_code == 500
    assert response.json()["detail"] == "An unexpected error."
    assert "asyncpg.exceptions." in caplog.text
    assert "KeyError" not in caplog.text
    assert (await client.get("/shelf")).json() == 1


async def test_what_is_new_is_written(client: httpx.AsyncClient) -> None:
    """Where nothing is broken, the route answers for itself."""
    response = await client.post("/shelf", params={"row": "('b', 2)"})

    assert response.status_code == 201
    assert (await client.get("/shelf")).json() == 3
