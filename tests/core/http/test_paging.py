"""Lists by the page."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from groundwork.core.http.paging import Paging, page
from groundwork.core.http.validation import read_query, text
from groundwork.core.state import State

NUMBERS = """
SELECT n AS id FROM generate_series(1::bigint, $1) AS n
WHERE n < $2 ORDER BY n DESC LIMIT $3 + 1
"""


class Query(Paging):
    """What a list of our own is asked for."""

    colour = text(9, load_default=None)


async def numbers(request: Request[State]) -> JSONResponse:
    """Answer a page of as many numbers as the path says."""
    query, count = read_query(request, Query()), request.path_params["count"]
    pool = request.state["pool"]
    rows = await pool.fetch(NUMBERS, count, query["before"], query["limit"])
    return JSONResponse(page(request, [dict(row) for row in rows], query["limit"]))


@pytest.fixture
def app(app: Starlette) -> Starlette:
    """Give the application with a list."""
    app.router.routes.append(Route("/é/{count:int}", numbers))
    return app


async def test_pages_follow_one_another(client: httpx.AsyncClient) -> None:
    """Each page says where the next is, with the query that was asked; the last says None."""
    found, address = [], "/é/5?limit=2&colour=a%26b"
    while address:
        answer = (await client.get(address)).json()
        found.append([item["id"] for item in answer["items"]])
        address = answer["next"]
        assert address in {None, f"/%C3%A9/5?limit=2&colour=a%26b&before={found[-1][-1]}"}

    assert found == [[5, 4], [3, 2], [1]]


@pytest.mark.parametrize(("count", "length"), [(0, 0), (20, 20), (21, 20)])
async def test_a_page_has_twenty(client: httpx.AsyncClient, count: int, length: int) -> None:
    """Who asks for no number gets 20 at most, and a next page where there is one."""
    answer = (await client.get(f"/é/{count}")).json()

    assert len(answer["items"]) == length
    assert (answer["next"] is None) is (count == length)


@pytest.mark.parametrize("query", ["limit=1", "limit=100", "before=1", f"before={2**63 - 1}"])
async def test_what_may_be_asked(client: httpx.AsyncClient, query: str) -> None:
    """A page has 1 to 100, before any id that PostgreSQL can have."""
    assert (await client.get(f"/é/200?{query}")).status_code == 200


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=many", "before=0", f"before={2**63}"]
)
async def test_what_may_not_be_asked(client: httpx.AsyncClient, query: str) -> None:
    """Anything else is 400, and names its parameter."""
    response = await client.get(f"/é/200?{query}")

    assert response.status_code == 400
    assert [error["parameter"] for error in response.json()["errors"]] == [
        query.split("=", maxsplit=1)[0]
    ]
