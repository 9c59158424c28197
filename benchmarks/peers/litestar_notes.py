"""Litestar, asyncpg and msgspec."""

import os
from contextlib import asynccontextmanager
from typing import Annotated

import msgspec
from duties import Duties
from litestar import Litestar, get, post
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import Parameter
from notes import CREATE, GET, LIST, MAX_ID, Note, Page, create_pool


class NewNote(msgspec.Struct, forbid_unknown_fields=True):
    title: Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"\S")]
    body: Annotated[str, msgspec.Meta(max_length=10_000)] = ""


@asynccontextmanager
async def pool(app):
    async with create_pool() as app.state.pool:
        yield


@get("/health/live")
async def live() -> dict[str, str]:
    return {"status": "ok"}


@get("/health/ready")
async def ready(state: State) -> dict[str, str]:
    await state.pool.fetchval("SELECT 1")
    return {"status": "ok"}


@get("/notes")
async def list_notes(
    state: State,
    limit: Annotated[int, Parameter(ge=1, le=100)] = 20,
    before: Annotated[int, Parameter(ge=1, le=MAX_ID)] = MAX_ID,
) -> Page:
    rows = [Note(*row) for row in await state.pool.fetch(LIST, before, limit)]
    more = f"/notes?limit={limit}&before={rows[limit - 1].id}" if len(rows) > limit else None
    return Page(rows[:limit], more)


@get("/notes/{note_id:int}")
async def get_note(state: State, note_id: int) -> Note:
    row = await state.pool.fetchrow(GET, note_id)
    if row is None:
        raise NotFoundException
    return Note(*row)


@post("/notes")
async def create_note(state: State, data: NewNote) -> Note:
    return Note(*await state.pool.fetchrow(CREATE, data.title, data.body))


app = Litestar(
    [live, ready, list_notes, get_note, create_note],
    lifespan=[pool],
    middleware=[Duties],
    cors_config=CORSConfig(allow_origins=[os.environ["CORS_ALLOW_ORIGINS"]]),
    openapi_config=None,
    logging_config=None,
)
