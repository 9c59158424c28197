"""GET /notes."""

import httpx

from groundwork.core.database.connections import Connection
from tests.conftest import Serving
from tests.factories.note import create_note


async def test_notes_are_listed_in_pages(client: httpx.AsyncClient, connection: Connection) -> None:
    """A page has the newest notes and the URL of the next page; the last page has null."""
    first, second, third = [await create_note(connection, title=title) for title in "abc"]

    page = (await client.get("/notes?limit=2")).json()
    last = (await client.get(page["next"])).json()

    assert [note["id"] for note in page["items"]] == [third, second]
    assert [note["id"] for note in last["items"]] == [first]
    assert last["next"] is None


async def test_an_invalid_query_is_rejected(client: httpx.AsyncClient) -> None:
    """Every invalid parameter is named."""
    response = await client.get("/notes?limit=0&colour=red")

    assert response.status_code == 400
    assert [error["parameter"] for error in response.json()["errors"]] == ["limit", "colour"]


async def test_without_a_database(serving: Serving) -> None:
    """An outage of the database is 503 with Retry-After."""
    async with serving("postgresql://nobody@127.0.0.1:1/nothing") as client:
        response = await client.get("/notes")

    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
