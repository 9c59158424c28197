"""Lists in pages."""

from datetime import UTC, datetime
from typing import Annotated

import httpx
import pytest
from msgspec import Meta, Struct, field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from groundwork.core.http.paging import Paging, page
from groundwork.core.http.responses import Json
from groundwork.core.http.validation import convert, read_query
from groundwork.core.state import State
from groundwork.core.structs import DateTime, Input

NUMBERS = """
SELECT n AS id FROM generate_series(1::bigint, $1) AS n
WHERE n < $2 ORDER BY n DESC LIMIT $3 + 1
"""


class Number(Struct):
    """An item."""

    id: int


class Named(Struct):
    """An item with a name, which is not unique."""

    id: int
    name: str


class Query(Paging):
    """The query of a list with a parameter of its own."""

    colour: Annotated[str, Meta(max_length=9)] | None = None
    size: Annotated[list[int], Meta(max_length=9)] = field(default_factory=list)


class Search(Paging):
    """The query of a list with a parameter that is required."""

    q: str


async def numbers(request: Request[State]) -> Json:
    """Return a page of as many numbers as the path says."""
    query, count = read_query(request, Query), request.path_params["count"]
    async with request.state["pool"].acquire() as connection:
        rows = await connection.fetch(NUMBERS, count, query.before, query.limit)
    return Json(page(request, [Number(*row) for row in rows], query.limit))


class ByName(Input):
    """The query of a list in the order of name and id."""

    name: str = ""
    id: int = 0
    size: int = 1


async def names(request: Request[State]) -> Json:
    """Return a page of two names, each of which two items have."""
    query = read_query(request, ByName)
    items = [Named(number, name) for name in "ab" for number in (1, 2)]
    rows = [one for one in items if (one.name, one.id) > (query.name, query.id)]
    return Json(page(request, rows, query.size, lambda row: {"name": row.name, "id": row.id}))


class Due(Input):
    """The query of a list in the order of times, those without at the end."""

    at: DateTime | None = None


async def times(request: Request[State]) -> Json:
    """Return a page, after which one begins after a time, or else after none."""
    at = read_query(request, Due).at
    following = None if at else datetime(2026, 1, 2, tzinfo=UTC)
    return Json(page(request, [Number(1), Number(2)], 1, lambda _: {"at": following}))


@pytest.fixture
def app(app: Starlette) -> Starlette:
    """Return the application with three lists."""
    app.router.routes += [Route("/é/{count:int}", numbers), Route("/names", names)]
    app.router.routes.append(Route("/times", times))
    return app


async def test_pages_follow_one_another(client: httpx.AsyncClient) -> None:
    """Each page has the URL of the next, with the query of the request; the last has None."""
    found, address = [], "/é/5?limit=2&colour=a%26b&size=1&size=2"
    while address:
        response = (await client.get(address)).json()
        found.append([item["id"] for item in response["items"]])
        address = response["next"]
        query = f"limit=2&colour=a%26b&size=1&size=2&before={found[-1][-1]}"
        assert address in {None, f"/%C3%A9/5?{query}"}

    assert found == [[5, 4], [3, 2], [1]]


async def test_pages_may_have_another_order(client: httpx.AsyncClient) -> None:
    """A cursor of several parameters takes the place of `before`."""
    found, address = [], "/names?size=3"
    while address:
        response = (await client.get(address)).json()
        found.append([(item["name"], item["id"]) for item in response["items"]])
        address = response["next"]
        assert address in {None, "/names?size=3&name=b&id=1"}

    assert found == [[("a", 1), ("a", 2), ("b", 1)], [("b", 2)]]


async def test_a_cursor_has_the_form_of_json(client: httpx.AsyncClient) -> None:
    """A time is RFC 3339, as the API description says of its parameter; None is left out."""
    first = (await client.get("/times")).json()["next"]

    assert first == "/times?at=2026-01-02T00%3A00%3A00Z"
    assert (await client.get(first)).json()["next"] == "/times?"


@pytest.mark.parametrize(("count", "length"), [(0, 0), (20, 20), (21, 20)])
async def test_a_page_has_twenty(client: httpx.AsyncClient, count: int, length: int) -> None:
    """Without a limit a page has 20 items at most, and a next page if there are more."""
    response = (await client.get(f"/é/{count}")).json()

    assert len(response["items"]) == length
    assert (response["next"] is None) is (count == length)


@pytest.mark.parametrize("query", ["limit=1", "limit=100", "before=1", f"before={2**63 - 1}"])
async def test_valid_queries(client: httpx.AsyncClient, query: str) -> None:
    """The limit is 1 to 100; `before` is any bigint from 1 on."""
    assert (await client.get(f"/é/200?{query}")).status_code == 200


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=many", "before=0", f"before={2**63}"]
)
async def test_invalid_queries(client: httpx.AsyncClient, query: str) -> None:
    """Anything else is 400 and names the parameter."""
    response = await client.get(f"/é/200?{query}")

    assert response.status_code == 400
    assert [error["parameter"] for error in response.json()["errors"]] == [
        query.split("=", maxsplit=1)[0]
    ]


def test_a_parameter_may_be_required() -> None:
    """A query with a required parameter has those of a page, too."""
    assert convert({"q": "a", "limit": 5}, Search) == Search("a", limit=5)
