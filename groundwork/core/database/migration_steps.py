"""The steps of a migration: short locks, retries, and no index left that is not valid."""

import re
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg2
from psycopg2.errors import DeadlockDetected, LockNotAvailable

from groundwork.core.database.migration_files import MigrationError
from groundwork.core.database.migration_session import Session

_PAUSE_SECONDS = 2
# Undoes what a file has SET. A server, but for one on Windows, notices when its client has gone.
RESET = """
    RESET ALL;
    SET lock_timeout = '1s';
    SELECT set_config('client_connection_check_interval', '1s', false)
    WHERE version() ~* 'linux|darwin|bsd|illumos'
"""
# No query queues behind what runs CONCURRENTLY, and the snapshots it waits for may last.
_PATIENT = "SET lock_timeout = 0; SET statement_timeout = 0"
_CONCURRENTLY = re.compile(r"\bCONCURRENTLY\b", re.IGNORECASE)
_INDEX = re.compile(
    r"CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?:IF\s+NOT\s+EXISTS\s+)?"
    r'("[^"]+"|[\w$]+)\s+ON\b',
    re.IGNORECASE,
)
# Where yoyo's tables are, unless new tables would be created there, and found.
_OTHER_SCHEMA = """
    SELECT string_agg(relnamespace::regnamespace::text, ', ')
    FROM pg_class
    WHERE relname = '_yoyo_migration' AND relkind = 'r'
    HAVING bool_or(
        oid = to_regclass('_yoyo_migration')
        AND relnamespace::regnamespace::text = quote_ident(current_schema())
    ) IS NOT true
"""
INVALID = "SELECT string_agg(indexrelid::regclass::text, ', ') FROM pg_index WHERE NOT indisvalid"


def retry(session: Session, name: str, step: Callable[[], None]) -> None:
    """Take a step of a migration; again while it gets no lock, until MIGRATION_LOCK_TIMEOUT.

    Raises:
        MigrationError: it failed; for want of a lock, with the session that holds it.
    """
    deadline = time.monotonic() + session.lock_timeout
    session.blocker = ""
    while True:
        try:
            session.run(RESET)
            return step()
        except (LockNotAvailable, DeadlockDetected) as error:
            failure: psycopg2.Error = error
        except psycopg2.Error as error:
            failure, deadline = error, 0
        if time.monotonic() > deadline:
            message = f"{name} failed: {failure}{session.blocker}"
            raise MigrationError(message.strip())
        time.sleep(_PAUSE_SECONDS)


def run_alone(session: Session, statement: str) -> None:
    """Run a statement outside a transaction; an index that it fails to create is dropped."""
    if _CONCURRENTLY.search(statement):
        session.run(_PATIENT)
    try:
        session.run(statement)
    except psycopg2.Error:
        with suppress(psycopg2.Error):
            session.run(RESET)
            drop_invalid_index(session, statement)
        raise


def drop_invalid_index(session: Session, statement: str) -> None:
    """Drop the index, not valid, that a statement has left when it failed or was killed."""
    named = f"{INVALID} AND indexrelid = to_regclass(%(name)s)"
    match = _INDEX.match(statement)
    if match and (index := session.fetch(named, name=match[1])):
        session.run(f"DROP INDEX CONCURRENTLY {index}")


def refuse_invalid_indexes(session: Session) -> None:
    """Raise MigrationError with the names of the database's indexes that are not valid."""
    if names := session.fetch(INVALID):
        message = (
            "nothing more was applied: CREATE INDEX CONCURRENTLY failed or is still running for "
            f"index {names}: drop what is not valid, or rebuild it with REINDEX"
        )
        raise MigrationError(message)


def refuse_other_schema(session: Session) -> None:
    """Raise MigrationError if the tables of yoyo are not where new tables would be created."""
    if other := session.fetch(_OTHER_SCHEMA):
        message = (
            f"the applied migrations are recorded in schema {other}, but new tables would be "
            f"created in schema {session.fetch('SELECT current_schema()')}: set the search_path "
            "of the role, or drop the schema that is not used"
        )
        raise MigrationError(message)
