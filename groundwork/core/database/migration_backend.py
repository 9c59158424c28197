"""yoyo's commands, with changes that are safe under load.

yoyo.ini names this backend, so `yoyo apply` is as safe as `groundwork migrate`. Reading takes no
lock and writes nothing. A change takes an advisory lock until the connection closes.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, override

import psycopg2
from yoyo import internalmigrations
from yoyo import migrations as yoyo
from yoyo.backends.core.postgresql import PostgresqlBackend
from yoyo.config import find_config

from groundwork.core.config import settings_or_exit
from groundwork.core.database import migration_checksums as checksums
from groundwork.core.database import migration_steps as steps
from groundwork.core.database.migration_files import MigrationError, check_files, read_script
from groundwork.core.database.migration_session import Session

logger = logging.getLogger(__name__)

_ADVISORY_LOCK = 0x67726F756E64  # "ground", any number that no other program takes
_MARKS = {"apply", "mark"}


class Backend(PostgresqlBackend):  # type: ignore[misc]  # yoyo carries no types
    """What yoyo's commands call, on DATABASE_URL."""

    @override
    def connect(self, dburi: Any) -> Session:
        settings = settings_or_exit()
        check_files()
        # yoyo logs the user's name, which a UID without a passwd entry does not have.
        user = os.environ.get("LOGNAME") or os.environ.get("USER") or str(os.getuid())
        os.environ["LOGNAME"] = user
        try:
            return Session(settings)
        except psycopg2.Error as error:
            message = f"the connection failed: {error}"
            raise MigrationError(message) from None

    @override
    def init_database(self) -> None:
        """Create nothing: the first change creates the tables. Find the sources of yoyo.ini."""
        os.chdir(Path(find_config() or "yoyo.ini").parent)

    @contextmanager
    @override
    def lock(self, timeout: float = 10) -> Iterator[None]:
        """Take no lock: a change does. Close the connection in the end, which releases it."""
        with closing(self.connection):
            yield

    @override
    def get_applied_migration_hashes(self) -> list[str]:
        return [yoyo.get_migration_hash(name) for name in checksums.read_applied(self)]

    @override
    def apply_migrations(self, migrations: yoyo.MigrationList, force: bool = False) -> None:
        if checksums.check(self, checksums.read_known()) or migrations:
            self._change("apply", migrations, force=force)

    @override
    def rollback_migrations(self, migrations: yoyo.MigrationList, force: bool = False) -> None:
        self._change("rollback", migrations, force=force)

    @override
    def mark_migrations(self, migrations: yoyo.MigrationList) -> None:
        self._change("mark", migrations)

    @override
    def unmark_migrations(self, migrations: yoyo.MigrationList) -> None:
        self._change("unmark", migrations)

    def _change(self, operation: str, found: yoyo.MigrationList, *, force: bool = False) -> None:
        if force:
            message = "--force is not supported: it marks what has failed"
            raise MigrationError(message)
        steps.refuse_other_schema(self.connection)
        self.connection.take_lock(_ADVISORY_LOCK)
        self._create_tables()
        if operation == "apply":
            for migration in checksums.check(self, checksums.read_known()):
                checksums.store(self, migration)
                logger.info("stored the checksum of %s", migration.id)
        applied = set(self.get_applied_migration_hashes())  # read again, under the lock
        for migration in found:
            if (migration.hash in applied) != (operation in _MARKS):
                self._run(migration, operation)
                if operation == "apply":
                    logger.info("applied %s", migration.id)

    def _create_tables(self) -> None:
        if internalmigrations.needs_upgrading(self):
            self.create_lock_table()
            internalmigrations.upgrade(self)
        if "_groundwork_migration" not in self.list_tables():
            self.execute(checksums.CREATE)

    def _run(self, migration: yoyo.Migration, operation: str) -> None:
        """Run a file and record that, in one transaction unless it says otherwise."""
        path, session = Path(migration.path).absolute(), self.connection
        take = partial(steps.retry, session, migration.id)
        script, marks = read_script(path), operation in _MARKS
        text, statements = script.text, script.statements
        if operation == "rollback":
            text, statements, _ = read_script(path.with_suffix(".rollback.sql"))
        elif operation != "apply":
            statements = []
        if not script.transactional:
            for statement in statements:
                take(partial(steps.drop_invalid_index, session, statement))
            if marks:
                steps.refuse_invalid_indexes(session)
            for statement in statements:
                take(partial(steps.run_alone, session, statement))
            statements = []
        # Made before there are locks: it looks up the name of this host.
        log = self.get_log_data(migration, operation)
        take(partial(self._run_in_transaction, text if statements else steps.RESET, migration, log))

    def _run_in_transaction(self, text: str, migration: yoyo.Migration, log: Any) -> None:
        session = self.connection
        session.run("BEGIN")
        try:
            session.run(text)
            session.run(steps.RESET)
            self._record(migration, log)
        except psycopg2.Error:
            with suppress(psycopg2.Error):  # the connection may be lost
                session.run("ROLLBACK")
            raise
        session.run("COMMIT")

    def _record(self, migration: yoyo.Migration, log: Any) -> None:
        if log["operation"] in _MARKS:
            steps.refuse_invalid_indexes(self.connection)
            self.mark_one(migration, log=False)
            checksums.store(self, migration)
        else:
            self.unmark_one(migration, log=False)
        self.execute(self.format_sql(self.log_migration_sql), log)
