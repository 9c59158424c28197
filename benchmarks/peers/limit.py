"""The limit: raw ASGI, asyncpg and msgspec; no request ID, no CORS, no metrics, no access log."""

import os
from typing import Annotated

import asyncpg
import msgspec
from notes import CREATE, GET, LIST, MAX_ID, Note, Page

encode = msgspec.json.Encoder().encode


class NewNote(msgspec.Struct):
    title: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    body: Annotated[str, msgspec.Meta(max_length=10_000)] = ""


decode = msgspec.json.Decoder(NewNote).decode


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
    status, path = 200, scope["path"]
    if path.startswith("/health/"):
        body = b'{"status":"ok"}'
    elif path == "/notes" and scope["method"] == "GET":
        rows = [Note(*row) for row in await pool.fetch(LIST, MAX_ID, 20)]
        more = f"/notes?before={rows[19].id}" if len(rows) > 20 else None
        body = encode(Page(rows[:20], more))
    elif path == "/notes":
        new = decode((await receive())["body"])
        status, body = 201, encode(Note(*await pool.fetchrow(CREATE, new.title, new.body)))
    else:
        body = encode(Note(*await pool.fetchrow(GET, int(path.rpartition("/")[2]))))
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
