"""Checksums of the applied migrations: a file must stay as it was applied."""

import hashlib
import logging
from glob import escape
from pathlib import Path
from typing import Any

from yoyo.backends.base import DatabaseBackend
from yoyo.migrations import Migration, MigrationList, read_migrations

from groundwork.core.database import migration_files as files

logger = logging.getLogger(__name__)

# yoyo knows a migration by its name alone. Where its mark is removed, the checksum goes too.
CREATE = """
    SET LOCAL client_min_messages = warning;
    CREATE TABLE IF NOT EXISTS _groundwork_migration (
        migration_hash text PRIMARY KEY REFERENCES _yoyo_migration ON DELETE CASCADE,
        text_hash text NOT NULL
    )
"""
_STORE = "INSERT INTO _groundwork_migration VALUES (:migration_hash, :text_hash)"
_TABLES = "SELECT to_regclass('_yoyo_migration'), to_regclass('_groundwork_migration')"
_APPLIED = """
    SELECT migration_id, text_hash
    FROM _yoyo_migration LEFT JOIN _groundwork_migration USING (migration_hash)
"""
_CHANGED = (
    "{0} has changed since it was applied: restore the file, and put the change into a new "
    "migration. In development, undo it with `yoyo rollback --revision {0}` and apply it again, "
    "or delete the data in .groundwork/postgres"
)
GONE = "{} has been applied and its file is missing: restore it, or deploy the release that has it"


def read_known() -> MigrationList:
    """Read this release's migrations; raise MigrationError if there are none."""
    if migrations := read_migrations(escape(str(files.FOLDER))):
        return migrations
    message = f"no migrations in {files.FOLDER}"
    raise files.MigrationError(message)


def read_applied(backend: DatabaseBackend) -> dict[str, str | None]:
    """Return the checksum of each applied migration, None where none is stored; write nothing."""
    return dict(backend.connection.retry("reading yoyo's tables", _read_applied, backend))


def _read_applied(backend: DatabaseBackend) -> Any:
    marks, checksums = backend.execute(_TABLES).fetchone()
    without = "SELECT migration_id, NULL FROM _yoyo_migration"
    return backend.execute(_APPLIED if checksums else without).fetchall() if marks else []


def store(backend: DatabaseBackend, migration: Migration) -> None:
    """Store the checksum of a migration that is marked as applied."""
    backend.execute(_STORE, {"migration_hash": migration.hash, "text_hash": _checksum(migration)})


def check(backend: DatabaseBackend) -> list[Migration]:
    """Return those applied without checksum; raise MigrationError if a file differs or is gone."""
    known, applied = read_known(), read_applied(backend)
    hashes = {migration.id: _checksum(migration) for migration in known}
    changed = [name for name in hashes if applied.get(name) not in (None, hashes[name])]
    reasons = [_CHANGED.format(name) for name in changed]
    unknown = sorted(applied.keys() - hashes.keys())
    # A previous release, deployed again, must start: all its migrations are applied, and those
    # of the newer release come after them.
    newer = hashes.keys() <= applied.keys() and min(unknown, default="") > max(hashes)
    for name in unknown:
        if newer:
            logger.warning("%s was applied by a newer release and is left as it is", name)
        else:
            reasons.append(GONE.format(name))
    if reasons:
        raise files.MigrationError("\n  ".join(["nothing was applied:", *reasons]))
    return [migration for migration in known if applied.get(migration.id, "") is None]


def _checksum(migration: Migration) -> str:
    """Hash a file as psql reads it: line endings are newlines, every other character counts."""
    sql = files.read_sql(Path(migration.path).absolute())
    return hashlib.sha256(sql.encode()).hexdigest()
