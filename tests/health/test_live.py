"""GET /health/live."""

import httpx


async def test_live_is_ok(client: httpx.AsyncClient) -> None:
    """A running process returns 200, which must not be cached."""
    response = await client.get("/health/live")

    assert response.status_code == 200
    assert response.json() == {"status": "ok"}
    assert response.headers["cache-control"] == "no-store"


async def test_live_supports_head(client: httpx.AsyncClient) -> None:
    """HEAD returns the same status code as GET."""
    response = await client.head("/health/live")

    assert response.status_code == 200
