"""GET /notes/{id}."""

import httpx
import pytest

from groundwork.core.database.connections import Connection
from tests.factories.note import create_note


async def test_a_note_is_returned(client: httpx.AsyncClient, connection: Connection) -> None:
    """The response has the fields of the note."""
    note_id = await create_note(connection, title="Buy milk", body="Two litres")

    note = (await client.get(f"/notes/{note_id}")).json()

    assert (note["id"], note["title"], note["body"]) == (note_id, "Buy milk", "Two litres")
    assert note["created_at"] == note["updated_at"]


@pytest.mark.parametrize("note_id", ["1", "0", "-1", "none", "9" * 20, "9" * 5000])
async def test_another_id_is_not_found(client: httpx.AsyncClient, note_id: str) -> None:
    """An id that no note has, or none can have, is 404."""
    assert (await client.get(f"/notes/{note_id}")).status_code == 404
