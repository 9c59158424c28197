"""A connection for migrations, and who holds what it waits for."""

import logging
import time
from contextlib import closing, suppress
from threading import Thread
from typing import Any

import psycopg2
from psycopg2.extensions import connection, make_dsn

from groundwork.core.config import Settings

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.4
_PATIENCE_SECONDS = 2
_REPEAT_SECONDS = 60
# Of other roles' sessions only pid and user are visible; a prepared transaction has the pid 0.
_SESSIONS = """
    SELECT string_agg(concat_ws(' ', 'pid', pid, usename, application_name, state,
        'since ' || date_trunc('second', coalesce(xact_start, backend_start))), ', ')
    FROM {} AS holder (pid) LEFT JOIN pg_stat_activity USING (pid)
"""
_BLOCKERS = _SESSIONS.format("unnest(pg_blocking_pids(%(pid)s))")
_HOLDERS = _SESSIONS.format("""(
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::bigint << 32) | objid::bigint = %(key)s
)""")
_WAIT = "SELECT locktype FROM pg_locks WHERE pid = %(pid)s AND NOT granted"


class Session(connection):  # type: ignore[misc]  # psycopg2 carries no types
    """A psycopg2 connection; once it has the lock, a thread beside it looks who blocks it."""

    def __init__(self, settings: Settings, **address: Any) -> None:
        """Connect as psql does, to one host of several where `address` says so.

        Raises:
            psycopg2.Error: the database is unreachable, or refuses.
        """
        timeout, name = max(2, round(settings.db_connect_timeout)), "groundwork migrate"
        address |= {"connect_timeout": timeout, "fallback_application_name": name}
        super().__init__(make_dsn(settings.database_url, **address))
        self.autocommit = True
        self.lock_timeout = settings.migration_lock_timeout
        self.blocker = ""
        self._settings = settings
        self._warned: dict[str, float] = {}

    def fetch(self, query: str, **parameters: Any) -> Any:
        """Run a query and return the value in its row, None where there is no row."""
        with self.cursor() as cursor:
            cursor.execute(query, parameters)
            return (cursor.fetchone() or [None])[0]

    def run(self, statements: str) -> None:
        """Run statements as they are."""
        with self.cursor() as cursor:
            cursor.execute(statements)

    def take_lock(self, key: int) -> None:
        """Wait for an advisory lock and log who has it; closing the connection releases it."""
        patient_until = time.monotonic() + _PATIENCE_SECONDS
        # Polled: a session that waits in pg_advisory_lock() holds a snapshot, for which the
        # CREATE INDEX CONCURRENTLY of the session that has the lock would wait in turn.
        while not self.fetch("SELECT pg_try_advisory_lock(%(key)s)", key=key):
            if time.monotonic() > patient_until:
                self._warn(f"waiting for another migration: {self.fetch(_HOLDERS, key=key)}")
            time.sleep(_LOOK_SECONDS)
        address = {"host": self.info.host, "port": self.info.port}
        pid = self.fetch("SELECT pg_backend_pid()")
        Thread(target=self._watch, args=(pid, address), daemon=True).start()

    def _watch(self, pid: int, address: dict[str, Any]) -> None:
        """Log who blocks the session, and end a wait for a lock after MIGRATION_LOCK_TIMEOUT.

        CREATE INDEX CONCURRENTLY waits for old snapshots, "virtualxid", as long as it must.
        """
        deadline = time.monotonic() + self.lock_timeout
        with suppress(psycopg2.Error), closing(Session(self._settings, **address)) as observer:
            while not self.closed:
                kind = observer.fetch(_WAIT, pid=pid)
                if kind and (blocker := observer.fetch(_BLOCKERS, pid=pid)):
                    self.blocker = f"it waited for {blocker}"
                    self._warn(f"waiting for {blocker}")
                if kind in {None, "virtualxid"}:
                    deadline = time.monotonic() + self.lock_timeout
                elif time.monotonic() > deadline:
                    self.cancel()
                time.sleep(_LOOK_SECONDS)

    def _warn(self, message: str) -> None:
        """Log a warning, the same one once a minute."""
        now = time.monotonic()
        if now >= self._warned.get(message, now):
            self._warned[message] = now + _REPEAT_SECONDS
            logger.warning(message)
