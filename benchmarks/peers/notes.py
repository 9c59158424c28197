"""What the peers on asyncpg share: the statements of Groundwork's example, rows, and the pool."""

import os
from datetime import datetime
from pathlib import Path

import asyncpg
import msgspec

_FOLDER = Path(os.environ["NOTES_SQL"])
LIST, GET, CREATE = ((_FOLDER / f"{name}.sql").read_text() for name in ("list", "get", "create"))
MAX_ID = 2**63 - 1


class Note(msgspec.Struct):
    id: int
    title: str
    body: str
    created_at: datetime
    updated_at: datetime


class Page(msgspec.Struct):
    items: list[Note]
    next: str | None


def create_pool():
    return asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=0, max_size=15)
