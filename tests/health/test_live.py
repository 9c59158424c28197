"""GET /health/live."""

import httpx


async def test_live_is_ok(client: httpx.AsyncClient) -> None:
    """A running process answers 200, and nobody may cache it."""
    response = await client.get("/health/live")

    assert response.status_code == 200
    assert response.json() == {"status": "ok"}
    assert response.headers["cache-control"] == "no-store"


async def test_live_answers_head(client: httpx.AsyncClient) -> None:
    """HEAD is answered as GET is."""
    response = await client.head("/health/live")

    assert response.status_code == 200
