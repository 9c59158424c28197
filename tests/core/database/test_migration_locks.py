"""Migrations on a busy database: locks, old snapshots, other runners, and failed indexes."""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import Mock, call
from urllib.parse import urlsplit

import psycopg2
import pytest
from psycopg2.errors import DeadlockDetected, LockNotAvailable, UniqueViolation

from groundwork.core.config import Settings
from groundwork.core.database import migration_session
from groundwork.core.database.migration_files import MigrationError, migration_ids
from groundwork.core.database.migration_session import _SESSIONS, Session
from groundwork.core.database.migration_statements import run_statements
from tests.databases import MARKS, migrate, run, transaction, yoyo
from tests.servers import NOISE, wait_until

type Start = Callable[[str], Future[CompletedProcess[str]]]

ALL = (len(migration_ids()), len(migration_ids()))
ONE_MORE = (ALL[0] + 1, ALL[1] + 1)
TAKE_LOCK = f"SELECT pg_advisory_lock({0x67726F756E64})"
ALTER = "ALTER TABLE crate ADD COLUMN new int;"
# It only mentions the word: queries do queue behind it.
NAMED = "-- transactional: false\nALTER TABLE crate -- not CONCURRENTLY\nADD is_concurrently int;"
INDEX = "-- transactional: false\nCREATE INDEX CONCURRENTLY crate_n ON crate (n);"
UNIQUE = INDEX.replace("INDEX", "UNIQUE INDEX")
RUNNERS = """
    SELECT 1 FROM pg_stat_activity
    WHERE application_name = 'groundwork migrate' AND datname = current_database()
"""
INVALID = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
IS_UNIQUE = "SELECT indisunique AND indisvalid FROM pg_index WHERE indexrelid = 'crate_n'::regclass"


@pytest.fixture(autouse=True)
def timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses."""
    monkeypatch.setattr(migration_session, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(migration_session, "_PAUSE_SECONDS", 0.2)


@pytest.fixture
def url(own_database: str) -> str:
    """Return a database with a table of two rows that are alike."""
    run(own_database, "CREATE TABLE crate (n int); INSERT INTO crate VALUES (1), (1)")
    return own_database


@pytest.fixture
def start(copy: Path, url: str) -> Iterator[Start]:
    """Return a function that runs `groundwork migrate` with one more migration in a thread."""
    with ThreadPoolExecutor() as threads:

        def start(sql: str) -> Future[CompletedProcess[str]]:
            (copy / "sql/migrations/9003.change-crate.sql").write_text(sql)
            return threads.submit(migrate, url, copy)

        yield start


def waits(url: str) -> bool:
    """Return whether a session of the database waits for a lock."""
    return bool(run(url, "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))


@pytest.mark.parametrize("sql", [ALTER, NAMED], ids=["in a transaction", "alone"])
def test_queries_queue_behind_a_migration_for_a_second(sql: str, start: Start, url: str) -> None:
    """A lock is tried for a second at a time, and the migration applied once it is free."""
    with transaction(url, "SELECT FROM crate"):
        migration = start(sql)
        wait_until(lambda: waits(url))
        began = time.monotonic()
        run(url, "SELECT FROM crate")
        waited = time.monotonic() - began

    assert migration.result().returncode == 0
    assert waited < 1 + NOISE
    assert run(url, MARKS) == [ONE_MORE]


def test_an_index_waits_for_a_lock_that_becomes_free(start: Start, url: str) -> None:
    """It waits in one piece, because no query queues behind it."""
    with transaction(url, "LOCK TABLE crate"):
        migration = start(INDEX)
        wait_until(lambda: waits(url))
        time.sleep(1.5)
        assert not migration.done()

    assert migration.result().returncode == 0


@pytest.mark.parametrize("sql", [ALTER, INDEX], ids=["in a transaction", "concurrently"])
def test_a_lock_that_is_not_free_in_time_fails_the_migration(
    sql: str, start: Start, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After MIGRATION_LOCK_TIMEOUT the message names the session that holds the lock."""
    monkeypatch.setenv("MIGRATION_LOCK_TIMEOUT", "0.5")
    with transaction(url, "LOCK TABLE crate") as pid:
        done = start(sql).result()

    assert done.returncode == 1
    assert "9003.change-crate failed: canceling statement" in done.stderr
    assert f"it waited for pid {pid}" in done.stderr
    assert run(url, MARKS) == [ALL]


def test_an_error_does_not_name_whom_an_earlier_statement_waited_for(
    start: Start, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A session that held a lock is not to blame for what fails afterwards."""
    with transaction(url, "LOCK TABLE crate"):
        migration = start(f"-- transactional: false\n{ALTER}\nSELECT 1 / 0")
        wait_until(lambda: "waiting for pid" in caplog.text)

    assert "division by zero" in migration.result().stderr
    assert "it waited for" not in migration.result().stderr


def test_an_index_waits_for_old_snapshots_as_long_as_it_must(
    start: Start, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CREATE INDEX CONCURRENTLY holds up no query, so neither timeout applies, and it says why."""
    monkeypatch.setenv("MIGRATION_LOCK_TIMEOUT", "0.3")
    run(url, f"ALTER DATABASE {urlsplit(url).path[1:]} SET statement_timeout = '1s'")
    snapshot = ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1")
    with transaction(url, *snapshot) as pid:
        migration = start(INDEX)
        wait_until(lambda: waits(url))
        time.sleep(1.5)
        assert not migration.done()

    assert migration.result().returncode == 0
    assert migration.result().stdout.count(f"waiting for pid {pid}") == 1


@pytest.mark.parametrize(
    "statement",
    [
        *("DROP INDEX CONCURRENTLY crate_n", "REINDEX TABLE CONCURRENTLY crate"),
        *("DROP /*\n*/ INDEX /* */-- why\nCONCURRENTLY n", "REINDEX(CONCURRENTLY) TABLE crate"),
        "create  unique  index  concurrently ON crate (n)",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY crates",
        "ALTER TABLE crate DETACH PARTITION box\nCONCURRENTLY",
    ],
)
def test_what_runs_concurrently_has_no_timeout(statement: str) -> None:
    """It may wait, because no query queues behind it."""
    session = Mock(Session)
    run_statements(session, [(1, statement)])

    without = call("SET lock_timeout = 0; SET statement_timeout = 0")
    assert session.run.mock_calls[1:3] == [without, call(statement)]


def test_queries_do_not_queue_behind_the_drop_of_an_index() -> None:
    """An index of a killed run is dropped concurrently too, as it has no timeout."""
    session = Mock(Session)
    session.run.side_effect = [None, None, "crate_n", None, None, None, None]

    run_statements(session, [(1, INDEX.partition("\n")[2])])

    assert session.run.mock_calls[3] == call("DROP INDEX CONCURRENTLY crate_n")


def test_an_index_that_cannot_be_dropped_hides_no_error() -> None:
    """The statement's error counts, and is not tried again; the next run drops the index."""
    session = Mock(Session)
    session.run.side_effect = [None, None, None, UniqueViolation, LockNotAvailable]

    with pytest.raises(UniqueViolation):
        run_statements(session, [(1, INDEX.partition("\n")[2])])
    assert session.run.call_count == 5


def test_a_deadlock_is_tried_again(url: str) -> None:
    """After a pause, in which the other transaction, and what queued behind this one, goes on."""
    step = Mock(side_effect=[DeadlockDetected, None])
    with closing(Session(Settings(database_url=url))) as session:
        began = time.monotonic()
        session.retry("9003.change-crate", step)

    assert step.call_count == 2
    assert time.monotonic() - began >= 0.2


def test_a_lock_is_tried_again_until_a_limit(url: str) -> None:
    """MIGRATION_LOCK_TIMEOUT is for all attempts together, of which each waits for a second."""
    step = Mock(side_effect=[*[LockNotAvailable] * 9, None])
    settings = Settings(database_url=url, migration_lock_timeout=0.3)
    with closing(Session(settings)) as session, pytest.raises(MigrationError, match="9003 failed"):
        session.retry("9003", step)

    assert 1 < step.call_count < 9


def test_a_unique_index_over_duplicates_is_not_left_behind(start: Start, url: str) -> None:
    """The failed index is dropped, and the next run creates it when the duplicates are gone."""
    failed, left = start(UNIQUE).result(), run(url, INVALID)
    run(url, "TRUNCATE crate")
    done = start(UNIQUE).result()

    assert (failed.returncode, "Key (n)=(1) is duplicated" in failed.stderr) == (1, True)
    assert (left, done.returncode, run(url, IS_UNIQUE)) == ([], 0, [(True,)])


@pytest.mark.parametrize(
    "name", ["crate_n", "if  not  exists  crate_n ", '"crate_n"', "/* */crate_n"]
)
def test_an_index_of_a_killed_run_is_created_again(name: str, start: Start, url: str) -> None:
    """An index that is not valid, and that a pending migration creates, is dropped first."""
    with pytest.raises(psycopg2.errors.UniqueViolation):
        run(url, "CREATE UNIQUE INDEX CONCURRENTLY crate_n ON crate (n)")
    run(url, "TRUNCATE crate")

    assert start(UNIQUE.replace("crate_n", name)).result().returncode == 0
    assert run(url, IS_UNIQUE) == [(True,)]


@pytest.mark.parametrize("name", ["crate_n", "n" * 64])
def test_an_index_outside_the_search_path_is_not_left_behind(
    name: str, start: Start, url: str
) -> None:
    """A failed index is dropped from its table's schema, also if PostgreSQL shortened its name."""
    run(url, 'CREATE SCHEMA "a yard"; ALTER TABLE crate SET SCHEMA "a yard"')
    unique = UNIQUE.replace("ON crate", 'ON ONLY "a yard".crate').replace("crate_n", name)

    failed, left = start(unique).result(), run(url, INVALID)
    run(url, 'TRUNCATE "a yard".crate')

    assert (failed.returncode, left, start(unique).result().returncode) == (1, [], 0)


def test_an_invalid_index_of_another_table_is_left(start: Start, url: str) -> None:
    """It may have the same name in another schema; a drop needs its operator."""
    run(url, "CREATE SCHEMA yard; CREATE TABLE yard.crate AS SELECT n FROM crate")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        run(url, "CREATE UNIQUE INDEX CONCURRENTLY crate_n ON yard.crate (n)")

    assert start(UNIQUE).result().returncode == 1

    assert run(url, INVALID) == [("yard.crate_n",)]


@pytest.mark.parametrize("sql", [ALTER, INDEX], ids=["in a transaction", "concurrently"])
def test_nothing_is_applied_beside_an_invalid_index(sql: str, start: Start, url: str) -> None:
    """An index that the pending migration does not name is left to the operator."""
    with pytest.raises(psycopg2.errors.UniqueViolation):
        run(url, "CREATE UNIQUE INDEX CONCURRENTLY other ON crate (n)")

    done = start(sql).result()

    reason = "CREATE, DROP or REINDEX CONCURRENTLY failed or is still running for index other: drop"
    assert (done.returncode, reason in done.stderr) == (1, True)
    assert run(url, MARKS) == [ALL]
    assert run(url, "SELECT to_regclass('crate_n')") == [(None,)]


def test_an_invalid_index_stops_no_rollback(copy: Path, url: str) -> None:
    """An operator may undo a migration before an index that it does not name is repaired."""
    file = copy / "sql/migrations/9003.create-new.sql"
    file.write_text("CREATE TABLE new ();")
    file.with_suffix(".rollback.sql").write_text("-- transactional: false\nDROP TABLE new;")
    assert migrate(url, copy).returncode == 0
    with pytest.raises(psycopg2.errors.UniqueViolation):
        run(url, "CREATE UNIQUE INDEX CONCURRENTLY other ON crate (n)")

    done = yoyo("rollback", "--revision", "9003", url=url, folder=copy)

    assert (done.returncode, run(url, MARKS)) == (0, [ALL])


@pytest.mark.parametrize(("verb", "name"), [("DROP", '"Other"'), ("REINDEX", "OTHER")])
def test_a_migration_may_remove_or_rebuild_an_invalid_index(
    verb: str, name: str, start: Start, url: str
) -> None:
    """A killed DROP INDEX CONCURRENTLY leaves an invalid index, which the next run drops."""
    with pytest.raises(psycopg2.errors.UniqueViolation):
        run(url, f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON crate (n)")
    run(url, "TRUNCATE crate")

    done = start(f"-- transactional: false\n{verb} INDEX CONCURRENTLY {name};").result()

    assert (done.returncode, run(url, MARKS), run(url, INVALID)) == (0, [ONE_MORE], [])


def test_an_index_of_a_partitioned_table_is_built_in_steps(start: Start, url: str) -> None:
    """It is not valid until its partitions have theirs, which later migrations create."""
    sql = "CREATE TABLE part (n int) PARTITION BY RANGE (n);"
    sql += "CREATE TABLE rest PARTITION OF part DEFAULT; CREATE INDEX whole ON ONLY part (n);"

    done = start(sql).result()

    assert (done.returncode, "not valid" in done.stdout) == (0, False)
    assert run(url, INVALID) == [("whole",)]


def test_an_invalid_index_is_named_when_nothing_is_pending(url: str) -> None:
    """The service may start again; the operator should know."""
    with pytest.raises(psycopg2.errors.UniqueViolation):
        run(url, "CREATE UNIQUE INDEX CONCURRENTLY other ON crate (n)")

    done = migrate(url)

    assert (done.returncode, "not used by queries: index other" in done.stdout) == (0, True)


def test_a_waiting_runner_names_the_one_that_runs(
    start: Start, url: str, server_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It logs the PID, user, application, since when, once; no lock of others, or elsewhere."""
    with (
        transaction(url, "SELECT pg_advisory_lock(1)"),
        transaction(url, TAKE_LOCK, "COMMIT") as pid,
        transaction(server_url, TAKE_LOCK),
    ):
        migration = start(ALTER)
        wait_until(lambda: "waiting for another" in caplog.text)
        time.sleep(0.5)  # while it looks again
        assert not migration.done()
    done, user = migration.result(), urlsplit(url).username

    assert (done.returncode, done.stdout.count("pid ")) == (0, 1)
    assert f"another migration: pid {pid} {user} report idle since 20" in done.stdout


def test_a_holder_is_named_with_the_start_of_its_transaction(url: str) -> None:
    """Its connection may be days old; a prepared transaction has none, and the PID 0."""
    second = ("SELECT pg_sleep(1.1)", "COMMIT AND CHAIN")
    with transaction(url, *second) as pid, closing(Session(Settings(database_url=url))) as session:
        holders = session.run(_SESSIONS.format(f"unnest(ARRAY[0, {pid}])"))
        since = session.run("SELECT xact_start FROM pg_stat_activity WHERE pid = %(pid)s", pid=pid)

    assert "pid 0" in holders
    assert f"pid {pid} " in holders
    assert f"in transaction since {since:%F %T}" in holders


def test_what_another_runner_has_rolled_back_is_skipped(copy: Path, url: str) -> None:
    """Whether a migration is applied is read again under the lock."""
    last = migration_ids()[-1]
    with ThreadPoolExecutor() as threads, transaction(url, TAKE_LOCK):
        rollback = threads.submit(yoyo, "rollback", "--revision", last, url=url, folder=copy)
        wait_until(lambda: run(url, RUNNERS))
        time.sleep(0.5)
        run(url, f"DELETE FROM _yoyo_migration WHERE migration_id = '{last}'")

    assert rollback.result().returncode == 0
    assert run(url, "SELECT to_regclass('installation') IS NULL") == [(False,)]


def test_reading_needs_no_lock(copy: Path, url: str) -> None:
    """`yoyo list` and `groundwork migrate --check` do not wait for a migration that runs."""
    with transaction(url, TAKE_LOCK):
        listed = yoyo("list", url=url, folder=copy)
        checked = migrate(url, copy, check=True)

    assert (listed.returncode, checked.returncode) == (0, 0)


def test_reading_says_what_it_waits_for(
    copy: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that locks yoyo's own table is named, and the wait ends."""
    monkeypatch.setenv("MIGRATION_LOCK_TIMEOUT", "0.5")
    with transaction(url, "LOCK TABLE _yoyo_migration") as pid:
        done = migrate(url, copy, check=True)

    assert (done.returncode, f"waiting for pid {pid} " in done.stdout) == (1, True)
    assert done.stderr.startswith("reading yoyo's tables failed: canceling statement")
    assert f"it waited for pid {pid} " in done.stderr


def test_a_file_does_not_change_the_session_of_the_next(copy: Path, url: str) -> None:
    """What a migration SETs ends with it, as in psql."""
    first, second = (copy / f"sql/migrations/000{n}.change-crate.sql" for n in (3, 4))
    first.write_text("SELECT set_config('search_path', '', false); SET lock_timeout = 0;")
    second.write_text("CREATE TABLE new AS SELECT current_setting('lock_timeout') AS lock_timeout")

    assert migrate(url, copy).returncode == 0
    assert run(url, "SELECT * FROM new") == [("1s",)]


def test_what_a_file_sets_lasts_until_its_end(copy: Path, url: str) -> None:
    """Outside a transaction too, and beside what CREATE INDEX CONCURRENTLY needs."""
    run(url, "CREATE SCHEMA other")
    (copy / "sql/migrations/9003.create-new.sql").write_text(
        "-- transactional: false\nSET search_path = other; SET statement_timeout = '1min';\n"
        "CREATE TABLE item AS SELECT 1 AS n; CREATE INDEX CONCURRENTLY item_n ON item (n);\n"
        "CREATE TABLE new AS SELECT current_setting('statement_timeout') AS a,\n"
        "current_setting('lock_timeout') AS b;"
    )

    assert migrate(url, copy).stderr == ""
    assert run(url, "SELECT a, b FROM other.new") == [("1min", "1s")]
    assert run(url, "SELECT to_regclass('other.item_n') IS NULL") == [(False,)]


@pytest.mark.parametrize("user", ["ROLE", "SESSION AUTHORIZATION"])
def test_a_file_leaves_no_role_and_no_temporary_table(copy: Path, url: str, user: str) -> None:
    """The next file runs as who connected, and on the tables that everybody sees."""
    first, second = (copy / f"sql/migrations/000{n}.change-crate.sql" for n in (3, 4))
    first.write_text(f"CREATE TEMP TABLE crate (); SET {user} pg_monitor;")
    second.write_text("ALTER TABLE crate ADD owner text; CREATE TABLE new AS SELECT current_user")
    run(url, "GRANT ALL ON ALL TABLES IN SCHEMA public TO pg_monitor")

    assert migrate(url, copy).stderr == ""
    assert run(url, "SELECT current_user = new.current_user FROM new") == [(True,)]
    assert run(url, "SELECT owner FROM public.crate LIMIT 0") == []


@pytest.mark.parametrize(("seconds", "timeout"), [(0.1, 2), (7.6, 8)])
def test_a_connection_attempt_has_a_timeout(
    monkeypatch: pytest.MonkeyPatch, seconds: float, timeout: int
) -> None:
    """It is DB_CONNECT_TIMEOUT in whole seconds; to libpq 0 would be none."""
    make_dsn = Mock(side_effect=psycopg2.OperationalError)
    monkeypatch.setattr(migration_session, "make_dsn", make_dsn)
    with pytest.raises(psycopg2.OperationalError):
        Session(Settings(database_url="", db_connect_timeout=seconds))

    assert make_dsn.call_args.kwargs["connect_timeout"] == timeout


@pytest.mark.parametrize("encoding", ["LATIN1", "EUC_TW", "SQL_ASCII"])
def test_files_are_utf8_whatever_the_client_encoding(
    encoding: str, copy: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PGCLIENTENCODING, which psql takes as that of its files, does not count."""
    monkeypatch.setenv("PGCLIENTENCODING", encoding)
    (copy / "sql/migrations/0003.create-new.sql").write_text("CREATE TABLE new AS SELECT '→' AS a")

    assert migrate(url, copy).stderr == ""
    monkeypatch.delenv("PGCLIENTENCODING")
    assert run(url, "SELECT * FROM new") == [("→",)]


def test_a_lost_connection_fails_the_migration(start: Start) -> None:
    """The message names the migration and the reason."""
    own = "SELECT pg_terminate_backend(pg_backend_pid());"

    done = start(own).result()

    assert done.returncode == 1
    assert re.search("9003.change-crate failed: (server closed|terminating)", done.stderr)


def test_a_connection_lost_while_it_waits_ends_the_wait(
    start: Start, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The message is the reason alone, without a traceback or an empty line."""
    with transaction(url, TAKE_LOCK):
        migration = start(ALTER)
        wait_until(lambda: "waiting for another" in caplog.text)
        run(url, RUNNERS.replace("1", "pg_terminate_backend(pid)"))
        done = migration.result()

    assert done.returncode == 1
    assert re.fullmatch(r"(?s)(server closed|terminating).*[^\n]\n", done.stderr)
