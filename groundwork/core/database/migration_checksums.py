"""Checksums of the applied migrations: a file must stay as it was applied.

yoyo knows a migration by its name alone, so a hash of each file's text is stored beside its mark.
"""

import hashlib
import logging
from collections.abc import Mapping
from glob import escape
from pathlib import Path

from yoyo.backends.base import DatabaseBackend
from yoyo.migrations import Migration, MigrationList, read_migrations

from groundwork.core.database.migration_files import MigrationError, folder, read_script

logger = logging.getLogger(__name__)

# Removing yoyo's mark, by an older release or in psql, removes the checksum too.
CREATE = """
    CREATE TABLE _groundwork_migration (
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


def read_known() -> MigrationList:
    """Read this release's migrations.

    Raises:
        MigrationError: there are none.
    """
    migrations = read_migrations(escape(str(folder())))
    if not migrations:
        message = f"no migrations in {folder()}"
        raise MigrationError(message)
    return migrations


def read_applied(backend: DatabaseBackend) -> dict[str, str | None]:
    """Return the checksum of each applied migration, None where none is stored; write nothing."""
    marks, checksums = backend.execute(_TABLES).fetchone()
    if marks is None:
        return {}
    without = "SELECT migration_id, NULL FROM _yoyo_migration"
    return dict(backend.execute(_APPLIED if checksums else without).fetchall())


def store(backend: DatabaseBackend, migration: Migration) -> None:
    """Store the checksum of a migration that is marked as applied."""
    checksums = {"migration_hash": migration.hash, "text_hash": _checksum(migration)}
    backend.execute(_STORE, checksums)


def check(backend: DatabaseBackend, migrations: MigrationList) -> list[Migration]:
    """Return the applied migrations that have no checksum yet.

    Raises:
        MigrationError: naming each applied migration whose file has changed or is missing.
    """
    applied = read_applied(backend)
    files = {migration.id: _checksum(migration) for migration in migrations}
    if reasons := _refusals(applied, files):
        raise MigrationError("\n  ".join(["nothing was applied:", *reasons]))
    for name in _unknown(applied, files):
        logger.warning("%s was applied by a newer release and is left as it is", name)
    return [migration for migration in migrations if applied.get(migration.id, "") is None]


def _refusals(applied: Mapping[str, str | None], files: Mapping[str, str]) -> list[str]:
    changed = [name for name in files if applied.get(name) not in (None, files[name])]
    missing = _unknown(applied, files)
    # After the rollback of a release the newer one's migrations come after all of its own, and
    # it has nothing to apply: it must start.
    if missing and missing[0] > max(files) and files.keys() <= applied.keys():
        missing = []
    return [
        f"{name} has changed since it was applied: restore the file, and put the change into a "
        f"new migration. In development, undo it with `yoyo rollback --revision {name}` and "
        "apply it again, or delete the data in .groundwork/postgres"
        for name in changed
    ] + [
        f"{name} has been applied and its file is missing: restore it, or deploy the release that "
        "has it"
        for name in missing
    ]


def _unknown(applied: Mapping[str, str | None], files: Mapping[str, str]) -> list[str]:
    return sorted(applied.keys() - files.keys())


def _checksum(migration: Migration) -> str:
    """Hash a file as psql reads it: line endings are newlines, every other character counts."""
    return hashlib.sha256(read_script(Path(migration.path).absolute()).text.encode()).hexdigest()
