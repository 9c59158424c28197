"""PATCH /notes/{id}."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from groundwork.core.database.connections import Connection
from tests.factories.note import create_note

PAST = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "title", "body"),
    [
        ({"title": "b"}, "b", "A body"),
        ({"body": ""}, "A title", ""),
        ({"title": "b", "body": "c"}, "b", "c"),
    ],
)
async def test_fields_are_changed(
    client: httpx.AsyncClient,
    connection: Connection,
    changes: dict[str, Any],
    title: str,
    body: str,
) -> None:
    """The fields that are given change, the others stay; updated_at moves."""
    note_id = await create_note(connection, updated_at=PAST)

    note = (await client.patch(f"/notes/{note_id}", json=changes)).json()

    assert (note["title"], note["body"]) == (title, body)
    assert note["updated_at"] == note["created_at"] > PAST.isoformat()


@pytest.mark.parametrize("changes", [{}, {"title": "A title"}])
async def test_nothing_is_changed(
    client: httpx.AsyncClient, connection: Connection, changes: dict[str, Any]
) -> None:
    """Where nothing changes, updated_at stays."""
    note_id = await create_note(connection, updated_at=PAST)

    note = (await client.patch(f"/notes/{note_id}", json=changes)).json()

    assert note["updated_at"] == "2025-01-01T00:00:00Z"


async def test_an_invalid_change_is_rejected(
    client: httpx.AsyncClient, connection: Connection
) -> None:
    """A field cannot be null."""
    note_id = await create_note(connection)

    response = await client.patch(f"/notes/{note_id}", json={"title": None})

    assert response.status_code == 422


async def test_a_title_stays_unique(client: httpx.AsyncClient, connection: Connection) -> None:
    """A title that another note has is a conflict."""
    await create_note(connection, title="Buy milk")
    note_id = await create_note(connection)

    response = await client.patch(f"/notes/{note_id}", json={"title": "Buy milk"})

    assert response.status_code == 409


async def test_another_id_is_not_found(client: httpx.AsyncClient) -> None:
    """A note that does not exist is 404."""
    assert (await client.patch("/notes/1", json={})).status_code == 404
