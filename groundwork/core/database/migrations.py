"""Migrations through yoyo, made crash-proof.

yoyo commits a change and the note that it is applied in two transactions, and locks with a row
that kill -9 leaves behind. The backend below does both in one transaction, under PostgreSQL's
own lock, and applies nothing where drift.py objects; yoyo.ini names it, so `yoyo apply` is as
safe as `groundwork migrate`.
"""

import getpass
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, override

import psycopg2
from yoyo.backends.core.postgresql import PostgresqlBackend
from yoyo.connections import parse_uri
from yoyo.exceptions import BadMigration
from yoyo.migrations import Migration, MigrationList, default_migration_table, read_migrations

from groundwork.core.config import settings_or_exit
from groundwork.core.database import migration_checksums as drift
from groundwork.core.database.connections import SQL_DIR

_ADVISORY_LOCK = 0x67726F756E64  # "ground", any number that nobody else takes
_POLL_SECONDS = 0.2


class Backend(PostgresqlBackend):  # type: ignore[misc]  # yoyo carries no types
    """yoyo's PostgreSQL backend at DATABASE_URL, which libpq reads as psql does."""

    @override
    def connect(self, dburi: Any) -> Any:
        settings = settings_or_exit()
        _name_the_user()
        connection = psycopg2.connect(
            settings.database_url, connect_timeout=max(2, round(settings.db_connect_timeout))
        )
        connection.autocommit = True
        # A migration that can't get its lock gives way: the queries behind it would wait as well.
        connection.cursor().execute("SET lock_timeout = '10s'")
        return connection

    @override
    def init_database(self) -> None:
        """Do nothing yet: the tables are made under the lock."""

    @contextmanager
    @override
    def lock(self, timeout: float = 10) -> Iterator[None]:
        """Wait for the advisory lock, however long, then clear yoyo's stale one and take it."""
        # Polled: a session that waits in pg_advisory_lock() holds a snapshot, for which the
        # CREATE INDEX CONCURRENTLY of the session that has the lock would wait in turn.
        while not self._take("pg_try_advisory_lock"):
            time.sleep(_POLL_SECONDS)
        try:
            self.create_lock_table()
            self.break_lock()
            with super().lock(timeout):
                yield
        finally:
            self._take("pg_advisory_unlock")

    def _take(self, function: str) -> bool:
        cursor = self.execute(f"SELECT {function}({_ADVISORY_LOCK})")
        return bool(cursor.fetchone()[0])

    @override
    def ensure_internal_schema_updated(self) -> None:
        """Make the tables, under the lock that whoever comes here has."""
        super().ensure_internal_schema_updated()
        drift.ensure_table(self)

    @override
    def apply_migrations(self, migrations: MigrationList, force: bool = False) -> None:
        """Apply what `yoyo apply` has chosen, on nothing but what the files say."""
        drift.check_or_exit(self, _read_migrations())
        super().apply_migrations(migrations, force)

    @override
    def mark_one(self, migration: Migration, log: bool = True) -> None:
        """Mark it, and note its text, in the transaction that every caller has begun."""
        super().mark_one(migration, log)
        drift.note(self, migration)

    @override
    def apply_one(self, migration: Migration, force: bool = False, mark: bool = True) -> None:
        """Apply and note it in one transaction, unless the file says `-- transactional: false`."""
        migration.load()
        if not migration.use_transactions:
            super().apply_one(migration, force, mark)
            return
        with self.transaction():
            migration.process_steps(self, "apply", force=force)
            self.log_migration(migration, "apply")
            if mark:
                self.mark_one(migration, log=False)

    @override
    def rollback_one(self, migration: Migration, force: bool = False) -> None:
        """Roll back and note it in one transaction, with the same exception."""
        migration.load()
        if not migration.use_transactions:
            super().rollback_one(migration, force)
            return
        with self.transaction():
            migration.process_steps(self, "rollback", force=force)
            self.log_migration(migration, "rollback")
            self.unmark_one(migration, log=False)


def migrate() -> None:
    """Apply what is pending and print it, or exit with 1 and the reason."""
    migrations = _read_migrations()
    step = "the connection"
    try:
        backend = Backend(parse_uri("groundwork://"), default_migration_table)
        with backend, backend.lock():
            drift.check_or_exit(backend, migrations)
            for migration in backend.to_apply(migrations):
                step = migration.id
                backend.apply_one(migration)
                sys.stdout.write(f"applied {step}\n")
    except (psycopg2.Error, BadMigration) as error:
        sys.exit(f"groundwork: {step} failed: {error}")
    sys.stdout.write("the database is up to date\n")


def _read_migrations() -> MigrationList:
    folder = SQL_DIR / "migrations"
    return read_migrations(str(folder)) or sys.exit(f"groundwork: no migrations in {folder}")


def _name_the_user() -> None:
    """Give yoyo's log a user name where the UID has no passwd entry, as in many containers."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = str(os.getuid())
