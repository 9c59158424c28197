"""DELETE /notes/{id}."""

import httpx

from groundwork.core.database.connections import Connection
from tests.factories.note import create_note


async def test_a_note_is_deleted(client: httpx.AsyncClient, connection: Connection) -> None:
    """A deleted note is gone, for a second request too."""
    note_id = await create_note(connection)

    statuses = [(await client.delete(f"/notes/{note_id}")).status_code for _ in range(2)]

    assert statuses == [204, 404]
    assert await connection.fetchval("SELECT count(*) FROM note") == 0
