"""The limit: a bare ASGI callable that sends constant bytes; ready is one query per request."""

import os

import asyncpg

START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"15")],
}
BODY = {"type": "http.response.body", "body": b'{"status":"ok"}'}


class WithoutReset(asyncpg.Connection):
    """A connection that is not reset on release."""

    def get_reset_query(self):
        return ""


async def app(scope, receive, send):
    global pool
    if scope["type"] == "lifespan":
        await receive()
        pool = await asyncpg.create_pool(
            os.environ["DATABASE_URL"], min_size=0, max_size=15, connection_class=WithoutReset
        )
        await send({"type": "lifespan.startup.complete"})
        await receive()
        pool.terminate()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/health/ready":
        await pool.fetchval("SELECT 1")
    await send(START)
    await send(BODY)
