"""What `groundwork migrate` and yoyo's commands do to the database; only changes take a lock."""

import logging
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from threading import Thread
from types import SimpleNamespace
from typing import Any, override

import psycopg2
from yoyo import internalmigrations
from yoyo import migrations as yoyo
from yoyo.backends.core.postgresql import PostgresqlBackend
from yoyo.topologicalsort import CycleError

from groundwork.core.config import settings_or_exit
from groundwork.core.database import migration_files as files
from groundwork.core.database import migration_statements as statements
from groundwork.core.database.migration_session import RESET, Session
from groundwork.core.database.migration_statements import Statements

logger = logging.getLogger(__name__)

# yoyo knows a migration by its name alone. Where its mark is removed, the checksum goes too.
_CREATE = """
    SET LOCAL client_min_messages = warning;
    CREATE TABLE IF NOT EXISTS _groundwork_migration (
        migration_hash text PRIMARY KEY REFERENCES _yoyo_migration ON DELETE CASCADE,
        text_hash text NOT NULL
    )
"""
_STORE = "INSERT INTO _groundwork_migration VALUES (%(hash)s, %(text)s)"


class Backend(PostgresqlBackend):  # type: ignore[misc]  # yoyo carries no types
    """What yoyo's commands call, on DATABASE_URL."""

    @override
    def connect(self, dburi: Any) -> Session:
        settings = settings_or_exit()
        files.check_files()
        # It takes 4 s per megabyte, for steps that are not used, as yoyo's `transactional` is not.
        yoyo.sqlparse = SimpleNamespace(split=lambda sql: [sql.replace("transactional", "")])
        yoyo.open = partial(open, encoding="utf-8")  # not the locale's
        # yoyo logs the user's name, which a UID without a passwd entry does not have.
        os.environ["USERNAME"] = os.environ.get("USERNAME") or str(os.getuid())
        try:
            return Session(settings)
        except (psycopg2.Error, UnicodeDecodeError) as error:
            text = str(getattr(error, "object", b""), "utf-8", "replace") or error
            raise files.MigrationError(f"the connection failed: {text}".strip()) from None

    @override
    def init_database(self) -> None:
        """Create nothing: the first change creates the tables. Find the sources of yoyo.ini."""
        os.chdir(files.FOLDER.parents[1])

    @contextmanager
    @override
    def lock(self, timeout: float = 10) -> Iterator[None]:
        """Take no lock: a change does. Close the connection afterwards, which releases it."""
        with closing(self.connection) as session:
            try:
                pid = session.run("SELECT pg_backend_pid()")
                Thread(target=session.watch, args=(pid,), daemon=True).start()
                yield
            except (psycopg2.Error, yoyo.exceptions.BadMigration, CycleError) as error:
                raise files.MigrationError(str(error).strip()) from None

    @override
    def ensure_internal_schema_updated(self) -> None:
        """Take the lock and create the missing tables; yoyo calls this before it writes."""
        if not self._internal_schema_updated:
            self.connection.refuse_other_schema()
            self.connection.take_lock()
            self.connection.retry("yoyo's tables", self._create_tables)
            self._internal_schema_updated: bool = True

    def _create_tables(self) -> None:
        self.connection.run(RESET)
        if internalmigrations.needs_upgrading(self):
            self.create_lock_table()
            internalmigrations.upgrade(self)
        self.connection.run(_CREATE)

    def _store_checksum(self, name: str) -> None:
        self.connection.run(_STORE, hash=yoyo.get_migration_hash(name), text=files.checksum(name))

    @override
    def get_applied_migration_hashes(self) -> list[str]:
        return [yoyo.get_migration_hash(name) for name in self.connection.read_applied()]

    @override
    def apply_migrations(self, migrations: yoyo.MigrationList, force: bool = False) -> None:
        """Apply migrations, and store the checksums that are missing; `force` changes nothing."""
        if files.compare(self.connection.read_applied()) or migrations:
            self.ensure_internal_schema_updated()
            for name in files.compare(self.connection.read_applied()):  # read again, under the lock
                self._store_checksum(name)
                logger.info("stored the checksum of %s", name)
            ordered = sorted(migrations, key=lambda one: one.id)  # not as `yoyo reapply` has them
            for migration in self.to_apply(yoyo.MigrationList(ordered)):
                self._run(migration, "apply")
                logger.info("applied %s", migration.id)

    @override
    def rollback_migrations(self, migrations: yoyo.MigrationList, force: bool = False) -> None:
        self.ensure_internal_schema_updated()
        unknown = self.connection.read_applied().keys() - set(files.migration_ids())
        for migration in filter(self.is_applied, migrations):  # read again, under the lock
            if (last := max(unknown, default="")) > migration.id:  # it may need this one
                raise files.MigrationError(files.GONE.format(last))
            self._run(migration, "rollback")

    @override
    def mark_one(self, migration: yoyo.Migration, log: bool = True) -> None:
        statements.refuse_invalid(self.connection)
        super().mark_one(migration, log)
        self._store_checksum(migration.id)

    def _run(self, migration: yoyo.Migration, operation: str) -> None:
        """Run a file and record that, in one transaction unless it says otherwise."""
        path, session = files.FOLDER / f"{migration.id}.sql", self.connection
        file = path if operation == "apply" else path.with_suffix(".rollback.sql")
        pending, retry = statements.read_statements(file), partial(session.retry, file.stem)
        # A table that an earlier file has left would hide another.
        retry(session.run, "DISCARD TEMP")
        texts = files.read_sql(path), files.read_sql(file)
        if "false" in map(files.directive, texts):
            if operation == "apply":
                statements.refuse_invalid(session, texts[1])  # it may drop or rebuild one
            for one in pending:
                retry(statements.run_statements, session, [one])
            retry(session.run, RESET)
            pending = []
        retry(self._commit, pending, migration, operation)

    def _commit(self, pending: Statements, migration: yoyo.Migration, operation: str) -> None:
        with self.connection:
            self.log_migration(migration, operation)  # first: it looks up the name of this host
            statements.run_statements(self.connection, pending)
            self.connection.run(RESET)
            record = self.mark_one if operation == "apply" else self.unmark_one
            record(migration, log=False)
