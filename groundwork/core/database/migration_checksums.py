"""Are the files still what was applied? A migration is for good once it is applied.

yoyo knows a migration by its name alone, so the text of each is noted here, as a hash.
"""

import hashlib
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from yoyo.backends.base import DatabaseBackend
from yoyo.migrations import Migration, MigrationList

# Whoever takes yoyo's mark away, an older release or psql, takes the note with it.
_CREATE = """
    CREATE TABLE _groundwork_migration (
        migration_hash text PRIMARY KEY REFERENCES _yoyo_migration ON DELETE CASCADE,
        text_hash text NOT NULL
    )
"""
_NOTE = "INSERT INTO _groundwork_migration VALUES (:migration_hash, :text_hash)"
_APPLIED = """
    SELECT migration_id, text_hash
    FROM _yoyo_migration LEFT JOIN _groundwork_migration USING (migration_hash)
"""


def ensure_table(backend: DatabaseBackend) -> None:
    """Make the table of notes, where yoyo's own are already."""
    if "_groundwork_migration" not in backend.list_tables():
        backend.execute(_CREATE)


def note(backend: DatabaseBackend, migration: Migration) -> None:
    """Note the text of a migration that is marked as applied."""
    hashes = {"migration_hash": migration.hash, "text_hash": _text_hash(migration.path)}
    backend.execute(_NOTE, hashes)


def check_or_exit(backend: DatabaseBackend, migrations: MigrationList) -> None:
    """Exit with 1 if the file of an applied migration has changed or is gone.

    What was applied before there were notes is noted as its file is now.
    """
    backend.ensure_internal_schema_updated()
    applied = dict(backend.execute(_APPLIED).fetchall())
    files = {migration.id: _text_hash(migration.path) for migration in migrations}
    if reasons := _refusals(applied, files):
        sys.exit("\n".join(f"groundwork: nothing was applied: {reason}" for reason in reasons))
    for name in _unknown(applied, files):
        sys.stderr.write(f"groundwork: {name} is a newer release's, and is left as it is\n")
    for migration in migrations:
        if applied.get(migration.id, "") is None:
            note(backend, migration)
            sys.stdout.write(f"noted {migration.id} as its file is now\n")


def _refusals(applied: Mapping[str, str | None], files: Mapping[str, str]) -> list[str]:
    changed = [name for name in files if applied.get(name) not in (None, files[name])]
    gone = _unknown(applied, files)
    # A release that was rolled back meets a newer one's: they come after all of its own, and it
    # has nothing to apply. It has to start all the same.
    if gone and gone[0] > max(files) and files.keys() <= applied.keys():
        gone = []
    return [
        f"{name} has changed since it was applied: restore its file, and put the change into a "
        "new migration"
        for name in changed
    ] + [
        f"{name} has been applied and its file is gone: restore it, or deploy the release that "
        "brought it"
        for name in gone
    ]


def _unknown(applied: Mapping[str, str | None], files: Mapping[str, str]) -> list[str]:
    return sorted(applied.keys() - files.keys())


@cache  # a file that is edited while it runs is noted as it was when that began
def _text_hash(path: str) -> str:
    """Hash a file as yoyo reads it: any line end is a newline, every other character counts."""
    return hashlib.sha256(Path(path).read_text("utf-8").encode()).hexdigest()
