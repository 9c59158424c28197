"""Migrations: on a real server, with real processes, killed for real."""

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from yoyo.connections import parse_uri
from yoyo.migrations import default_migration_table, read_migrations

from groundwork.core.database.connections import SQL_DIR, migration_ids
from groundwork.core.database.migrations import Backend
from tests.databases import (
    CHECKOUT,
    NOTES,
    bare_environment,
    groundwork,
    migrate,
    run,
    schema,
    yoyo,
)
from tests.servers import wait_until

FILES = SQL_DIR / "migrations"
RUN = "from groundwork.core.database.migrations import migrate; migrate()"

KNOWN = len(migration_ids())


def start(folder: Path, url: str) -> subprocess.Popen[str]:
    """Start a copy's `groundwork migrate`."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN],
        cwd=folder,
        env=bare_environment() | {"DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end; return exit code and output."""
    output, _ = process.communicate(timeout=30)
    return process.returncode, output


def test_files_are_numbered_and_can_be_undone() -> None:
    """Each migration is NNNN.verb-noun, numbers have no gap, each has its rollback."""
    numbers = [int(name.partition(".")[0]) for name in migration_ids()]

    assert numbers == list(range(1, len(numbers) + 1))
    for name in migration_ids():
        assert re.fullmatch(r"\d{4}\.[a-z0-9-]+", name)
        assert (FILES / f"{name}.sql").read_text().startswith("-- ")
        assert (FILES / f"{name}.rollback.sql").read_text().strip()


def test_migrate_prints_what_it_applied(empty_database: str) -> None:
    """The first run names each migration, the second has nothing to do."""
    first, second = groundwork("migrate", DATABASE_URL=empty_database), migrate(empty_database)

    applied = [f"applied {name}" for name in migration_ids()]
    assert first.stdout.splitlines() == [*applied, "the database is up to date"]
    assert second.stdout == "the database is up to date\n"


def test_up_down_up_is_what_migrate_makes(empty_database: str, own_database: str) -> None:
    """Through yoyo, all up, all down and all up again makes the schema of `migrate`."""
    for arguments in (["apply"], ["rollback", "--all"], ["apply"]):
        done = yoyo(*arguments, "--batch", url=empty_database)
        assert done.returncode == 0, done.stderr
        if arguments[0] == "rollback":
            assert run(empty_database, "SELECT to_regclass('installation')") == [(None,)]

    assert schema(empty_database) == schema(own_database)


def test_yoyo_lists_the_same(own_database: str) -> None:
    """`yoyo list`, run in a checkout, knows what `migrate` has applied."""
    listed = subprocess.check_output(
        [Path(sys.executable).with_name("yoyo"), "list"],
        cwd=CHECKOUT,
        env=bare_environment() | {"DATABASE_URL": own_database},
        text=True,
    )

    assert [line.split()[:2] for line in listed.splitlines()[2:]] == [
        ["A", name] for name in migration_ids()
    ]


@pytest.mark.parametrize(
    "command", [migrate, lambda url: yoyo("list", url=url)], ids=["groundwork migrate", "yoyo list"]
)
def test_a_missing_address_is_said_in_one_line(
    command: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    """Without DATABASE_URL both commands name it, and exit with 2."""
    done = command("")

    assert done.returncode == 2
    assert "DATABASE_URL: " in done.stderr


def test_a_database_that_is_down_is_said_in_one_line() -> None:
    """An unreachable database is an error of one line, without the password."""
    done = migrate("postgresql://u:s3cret@127.0.0.1:1/nothing")

    assert done.returncode == 1
    assert "Connection refused" in done.stderr
    assert "s3cret" not in done.stderr


@pytest.mark.faults
def test_five_at_once(copy: Path, empty_database: str) -> None:
    """Replicas that migrate at once all succeed, and each migration runs once."""
    (copy / "sql/migrations/9998.create-slow.sql").write_text(
        "CREATE TABLE slow (); SELECT pg_sleep(0.5);"
    )
    outcomes = [finish(process) for process in [start(copy, empty_database) for _ in range(5)]]

    output = "".join(output for _, output in outcomes)
    assert [code for code, _ in outcomes] == [0] * 5
    assert output.count("applied 9998.create-slow") == 1
    assert run(empty_database, NOTES) == [(KNOWN + 1, KNOWN + 1)]


@pytest.mark.faults
def test_five_at_once_on_a_database_without_notes(copy: Path, own_database: str) -> None:
    """The first release that notes texts may be started in replicas as well."""
    run(own_database, "DROP TABLE _groundwork_migration")
    outcomes = [finish(process) for process in [start(copy, own_database) for _ in range(5)]]

    output = "".join(output for _, output in outcomes)
    assert [code for code, _ in outcomes] == [0] * 5
    assert output.count("noted 0001.create-set-updated-at") == 1
    assert run(own_database, NOTES) == [(KNOWN, KNOWN)]


@pytest.mark.faults
def test_indexes_can_be_made_concurrently_while_others_wait(
    copy: Path, empty_database: str
) -> None:
    """Waiting for the lock holds no snapshot that CREATE INDEX CONCURRENTLY would wait for."""
    (copy / "sql/migrations/9998.create-index.sql").write_text(
        "-- transactional: false\n"
        "CREATE INDEX CONCURRENTLY by_creation ON installation (created_at);"
    )
    outcomes = [finish(process) for process in [start(copy, empty_database) for _ in range(3)]]

    assert [code for code, _ in outcomes] == [0] * 3
    assert run(empty_database, "SELECT to_regclass('by_creation') IS NULL") == [(False,)]
    assert run(empty_database, NOTES) == [(KNOWN + 1, KNOWN + 1)]


@pytest.mark.faults
def test_killed_in_the_middle(copy: Path, empty_database: str) -> None:
    """After kill -9 within a migration the next run applies it, without break-lock."""
    slow = copy / "sql/migrations/9998.create-slow.sql"
    slow.write_text("CREATE TABLE slow (); SELECT pg_sleep(1);")
    killed = start(copy, empty_database)
    sleeping = """SELECT 1 FROM pg_stat_activity
        WHERE datname = current_database() AND query LIKE 'SELECT pg_sleep%'"""
    wait_until(lambda: run(empty_database, sleeping))
    killed.send_signal(signal.SIGKILL)
    finish(killed)
    left = run(empty_database, NOTES)

    slow.write_text("CREATE TABLE slow ();")
    done = migrate(empty_database, copy)

    assert (done.returncode, "applied 9998.create-slow" in done.stdout) == (0, True)
    assert (left, run(empty_database, NOTES)) == ([(KNOWN, KNOWN)], [(KNOWN + 1, KNOWN + 1)])


def test_yoyos_stale_lock_is_cleared(own_database: str) -> None:
    """A lock row that a killed yoyo left behind stops nobody."""
    run(own_database, "INSERT INTO yoyo_lock VALUES (1, now(), 1)")
    started = time.monotonic()

    done = migrate(own_database)

    assert done.returncode == 0
    assert time.monotonic() - started < 5


def test_a_failing_migration_leaves_nothing(copy: Path, own_database: str) -> None:
    """A migration that fails half-way is rolled back, named, and not marked."""
    (copy / "sql/migrations/9998.create-half.sql").write_text("CREATE TABLE half (); SELECT 1 / 0;")

    done = migrate(own_database, copy)

    assert done.returncode == 1
    assert "9998.create-half failed: division by zero" in done.stderr
    assert run(own_database, "SELECT to_regclass('half')") == [(None,)]
    assert run(own_database, "SELECT count(*) FROM _yoyo_migration") == [(KNOWN,)]


def test_change_and_note_are_one_transaction(copy: Path, own_database: str) -> None:
    """When the note that it is applied can't be written, the change is not there either."""
    (copy / "sql/migrations/9998.create-lone.sql").write_text("CREATE TABLE lone ();")
    run(own_database, "ALTER TABLE _yoyo_migration ADD CHECK (migration_id NOT LIKE '%lone')")

    done = migrate(own_database, copy)

    assert (done.returncode, "9998.create-lone" in done.stderr) == (1, True)
    assert run(own_database, "SELECT to_regclass('lone')") == [(None,)]


def test_an_unresolved_dependency_is_an_error(copy: Path, own_database: str) -> None:
    """A migration that names an unknown one is refused, where yoyo would pass over it."""
    (copy / "sql/migrations/9998.create-odd.sql").write_text("-- depends: 0000.nothing\nSELECT 1;")

    done = migrate(own_database, copy)

    assert (done.returncode, "9998.create-odd" in done.stderr) == (1, True)


def test_an_empty_folder_is_refused(copy: Path, empty_database: str) -> None:
    """No migrations at all is a broken installation, not an empty schema."""
    shutil.rmtree(copy / "sql/migrations")

    done = migrate(empty_database, copy)

    assert (done.returncode, "no migrations in" in done.stderr) == (1, True)


def test_a_user_without_a_name(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A UID that has no passwd entry migrates as well."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(pwd, "getpwuid", Mock(side_effect=KeyError))

    migrate(empty_database).check_returncode()

    assert run(empty_database, "SELECT DISTINCT username FROM _yoyo_log") == [(str(os.getuid()),)]


@pytest.fixture
def backend(own_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """Give yoyo's backend, which has taken the lock."""
    monkeypatch.setenv("DATABASE_URL", own_database)
    with Backend(parse_uri("groundwork://"), default_migration_table) as backend, backend.lock():
        yield backend


def test_outside_a_transaction_it_goes_up_and_down(
    copy: Path, backend: Backend, own_database: str
) -> None:
    """What no transaction may hold is applied, noted, rolled back, and its note taken away."""
    file = copy / "sql/migrations/9998.create-index.sql"
    sql = "-- transactional: false\n{} INDEX CONCURRENTLY by_creation"
    file.write_text(f"{sql.format('CREATE')} ON installation (created_at);")
    file.with_suffix(".rollback.sql").write_text(f"{sql.format('DROP')};")
    migration = read_migrations(str(file.parent))[-1]
    found = []
    for change in (backend.apply_one, backend.rollback_one):
        change(migration)
        found += run(own_database, "SELECT to_regclass('by_creation') IS NULL") + run(
            own_database, NOTES
        )

    assert found == [(False,), (KNOWN + 1, KNOWN + 1), (True,), (KNOWN, KNOWN)]


def test_what_yoyo_runs_after_each_apply_is_not_marked(
    copy: Path, backend: Backend, own_database: str
) -> None:
    """A post-apply script takes effect, and is no migration that has been applied."""
    file = copy / "sql/migrations/post-apply.sql"
    file.write_text("CREATE TABLE after ();")
    (migration,) = read_migrations(str(file.parent)).post_apply

    backend.apply_one(migration, mark=False)

    assert run(own_database, "SELECT to_regclass('after') IS NULL") == [(False,)]
    assert run(own_database, NOTES) == [(KNOWN, KNOWN)]
