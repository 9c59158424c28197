"""POST /notes."""

from typing import Any

import httpx
import pytest

from groundwork.core.database.connections import Connection
from tests.factories.note import create_note


async def test_a_note_is_created(client: httpx.AsyncClient) -> None:
    """The response is the note and its URL; the body is empty unless it is given."""
    response = await client.post("/notes", json={"title": "Buy milk"})

    assert response.status_code == 201
    assert (response.json()["title"], response.json()["body"]) == ("Buy milk", "")
    assert (await client.get(response.headers["location"])).json() == response.json()


@pytest.mark.parametrize(
    ("given", "pointers"),
    [
        ({}, ["#/title"]),
        ({"title": " ", "body": None, "colour": "red"}, ["#/title", "#/body", "#/colour"]),
        ({"title": "x" * 201, "body": "x" * 20_001}, ["#/title", "#/body"]),
        ({"title": "a\0"}, ["#/title"]),
    ],
)
async def test_an_invalid_note_is_rejected(
    client: httpx.AsyncClient, given: dict[str, Any], pointers: list[str]
) -> None:
    """Every error is named, with its place."""
    response = await client.post("/notes", json=given)

    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == pointers


async def test_limits_are_inclusive(client: httpx.AsyncClient) -> None:
    """Text of the maximum length is accepted."""
    response = await client.post("/notes", json={"title": "x" * 200, "body": "x" * 20_000})

    assert response.status_code == 201


async def test_a_title_is_unique(client: httpx.AsyncClient, connection: Connection) -> None:
    """A title that another note has is a conflict."""
    await create_note(connection, title="Buy milk")

    response = await client.post("/notes", json={"title": "Buy milk"})

    assert response.status_code == 409
    assert response.json()["detail"] == "Another note has this title."
