"""FastAPI and asyncpg."""

import os
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated

from duties import Duties
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.middleware.cors import CORSMiddleware
from notes import CREATE, GET, LIST, MAX_ID, create_pool
from pydantic import BaseModel, ConfigDict, Field


class Note(BaseModel):
    id: int
    title: str
    body: str
    created_at: datetime
    updated_at: datetime


class Page(BaseModel):
    items: list[Note]
    next: str | None


class NewNote(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]
    body: Annotated[str, Field(max_length=10_000)] = ""


@asynccontextmanager
async def lifespan(app):
    async with create_pool() as pool:
        yield {"pool": pool}


app = FastAPI(lifespan=lifespan, openapi_url=None)
app.add_middleware(
    CORSMiddleware,
    allow_origins=[os.environ["CORS_ALLOW_ORIGINS"]],
    allow_methods=["*"],
    allow_headers=["*"],
)
app.add_middleware(Duties)


@app.get("/health/live")
async def live():
    return {"status": "ok"}


@app.get("/health/ready")
async def ready(request: Request):
    await request.state.pool.fetchval("SELECT 1")
    return {"status": "ok"}


@app.get("/notes")
async def list_notes(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    before: Annotated[int, Query(ge=1, le=MAX_ID)] = MAX_ID,
) -> Page:
    rows = await request.state.pool.fetch(LIST, before, limit)
    more = f"/notes?limit={limit}&before={rows[limit - 1]['id']}" if len(rows) > limit else None
    return Page(items=[Note(**row) for row in rows[:limit]], next=more)


@app.get("/notes/{note_id}")
async def get_note(request: Request, note_id: int) -> Note:
    row = await request.state.pool.fetchrow(GET, note_id)
    if row is None:
        raise HTTPException(404)
    return Note(**row)


@app.post("/notes", status_code=201)
async def create_note(request: Request, new: NewNote) -> Note:
    return Note(**await request.state.pool.fetchrow(CREATE, new.title, new.body))
