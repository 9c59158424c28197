"""What the peers on asyncpg share: the statements of Groundwork's example, and the pool."""

import os
from pathlib import Path

import asyncpg

_FOLDER = Path(os.environ["NOTES_SQL"])
LIST, GET, CREATE = ((_FOLDER / f"{name}.sql").read_text() for name in ("list", "get", "create"))
MAX_ID = 2**63 - 1


def create_pool():
    return asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=0, max_size=15)
