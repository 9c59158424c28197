"""A connection for migrations: short locks, retries, and who holds a lock."""

import logging
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import cache
from types import SimpleNamespace
from typing import Any

import psycopg2
from psycopg2.errors import DeadlockDetected, LockNotAvailable
from psycopg2.extensions import connection, make_dsn

from groundwork.core.config import Settings
from groundwork.core.database.migration_files import MigrationError

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.4
_PAUSE_SECONDS = 2
_LOCK = 0x67726F756E64  # "ground", any number that no other program takes
# Undoes what a file has SET. A server, but for one on Windows, notices when its client has gone.
RESET = """
    RESET SESSION AUTHORIZATION;
    RESET ALL;
    SET lock_timeout = '1s';
    SELECT set_config('client_connection_check_interval', '1s', false)
    WHERE version() ~* 'linux|darwin|bsd|illumos'
"""
_APPLIED = """
    SELECT json_object_agg(migration_id, text_hash)
    FROM _yoyo_migration LEFT JOIN _groundwork_migration USING (migration_hash)
"""
_WITHOUT_CHECKSUMS = "SELECT json_object_agg(migration_id, NULL::text) FROM _yoyo_migration"
_OTHER_SCHEMA = """
    SELECT concat(string_agg(schemaname, ', '), ', but new tables would be created in ',
        coalesce('schema ' || current_schema(), 'no schema'))
    FROM pg_tables WHERE tablename = '_yoyo_migration'
    HAVING NOT bool_or(coalesce(schemaname = current_schema(), false))
"""
# Of other roles' sessions only pid and user are visible; a prepared transaction has the pid 0.
_SESSIONS = """
    SELECT string_agg(concat_ws(' ', 'pid', pid, usename, application_name, state,
        'since ' || date_trunc('second', coalesce(xact_start, backend_start))), ', ')
    FROM {} AS holder (pid) LEFT JOIN pg_stat_activity USING (pid)
"""
_BLOCKERS = _SESSIONS.format("unnest(pg_blocking_pids(%(pid)s))")
_HOLDERS = _SESSIONS.format("""(
    SELECT pid FROM pg_locks
    WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::bigint << 32) | objid::bigint = %(key)s
)""")
# CREATE INDEX CONCURRENTLY waits for old snapshots, "virtualxid", as long as it must.
_OVERDUE = """
    SELECT clock_timestamp() - waitstart > %(seconds)s * interval '1 second'
    FROM pg_locks WHERE pid = %(pid)s AND NOT granted AND locktype <> 'virtualxid'
"""


class Session(connection):  # type: ignore[misc]  # psycopg2 carries no types
    """A psycopg2 connection that waits for locks, and says who has them."""

    def __init__(self, settings: Settings) -> None:
        timeout, name = max(2, round(settings.db_connect_timeout)), "groundwork migrate"
        options = {"connect_timeout": timeout, "fallback_application_name": name}
        # Files are UTF-8, whatever PGCLIENTENCODING, the role or the database say.
        super().__init__(make_dsn(settings.database_url, client_encoding="UTF8", **options))
        self.autocommit = True
        self.notices = SimpleNamespace(append=lambda notice: logger.info("%s", notice.strip()))
        self._settings = settings
        self._log_once = cache(logger.warning)

    def run(self, statements: str, **parameters: Any) -> Any:
        """Run statements; return the value in the last one's row, None where there is no row."""
        with self.cursor() as cursor:
            cursor.execute(statements, parameters or None)
            return (cursor.fetchone() or [None])[0] if cursor.description else None

    def read_applied(self) -> dict[str, str | None]:
        """Return the checksum of each applied migration, None where none is stored."""
        return self.retry("reading yoyo's tables", self._read_applied) or {}

    def _read_applied(self) -> Any:
        if self.run("SELECT to_regclass('_groundwork_migration')"):
            return self.run(_APPLIED)
        return self.run("SELECT to_regclass('_yoyo_migration')") and self.run(_WITHOUT_CHECKSUMS)

    def refuse_other_schema(self) -> None:
        """Raise MigrationError if yoyo's tables are not where new tables would be created."""
        if other := self.run(_OTHER_SCHEMA):
            message = (
                f"the applied migrations are recorded in schema {other}: set the search_path of "
                "the role, or drop the schema that is not used"
            )
            raise MigrationError(message)

    def take_lock(self) -> None:
        """Wait for an advisory lock and log who has it; closing the connection releases it."""
        # Polled: a session that waits in pg_advisory_lock() holds a snapshot, for which the
        # CREATE INDEX CONCURRENTLY of the session that has the lock would wait in turn.
        while not self.run("SELECT pg_try_advisory_lock(%(key)s)", key=_LOCK):
            self._log_once(f"waiting for another migration: {self.run(_HOLDERS, key=_LOCK)}")
            time.sleep(_LOOK_SECONDS)

    def retry(self, name: str, step: Callable[..., Any], *arguments: Any) -> Any:
        """Call `step` again until it has its locks; raise MigrationError, with who held one."""
        deadline = time.monotonic() + self._settings.migration_lock_timeout
        self._blocker = ""
        while True:
            try:
                return step(*arguments)
            except psycopg2.Error as error:
                again = isinstance(error, LockNotAvailable | DeadlockDetected)
                if not again or time.monotonic() > deadline:
                    reason = error.__context__ or error  # why the connection is closed
                    message = f"{name} failed: {reason}{self._blocker}"
                    raise MigrationError(message.strip()) from None
            time.sleep(_PAUSE_SECONDS)

    def watch(self, pid: int) -> None:
        """Log who blocks the session, and end a wait for a lock after MIGRATION_LOCK_TIMEOUT."""
        with suppress(psycopg2.Error), closing(Session(self._settings)) as observer:
            while not self.closed:
                if blocker := observer.run(_BLOCKERS, pid=pid):
                    self._blocker = f"it waited for {blocker}"
                    self._log_once(f"waiting for {blocker}")
                if observer.run(_OVERDUE, pid=pid, seconds=self._settings.migration_lock_timeout):
                    self.cancel()
                time.sleep(_LOOK_SECONDS)
