"""`groundwork migrate` and yoyo's commands, on a real server and with real processes."""

import json
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import pytest
from yoyo.backends.core.postgresql import PostgresqlBackend

from groundwork.core.database.connections import SQL_DIR
from groundwork.core.database.migration_backend import Backend
from groundwork.core.database.migration_files import migration_ids
from tests.databases import (
    CHECKOUT,
    MARKS,
    bare_environment,
    groundwork,
    migrate,
    run,
    schema,
    transaction,
    yoyo,
)
from tests.servers import wait_until

FILES = SQL_DIR / "migrations"
COUNT = len(migration_ids())
ALL, ONE_MORE = [(COUNT, COUNT)], [(COUNT + 1, COUNT + 1)]
UP_TO_DATE = "the database is up to date"
TAKE_LOCK = f"SELECT pg_advisory_lock({0x67726F756E64})"
SLEEPING = """
    SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep(%'
    AND pid <> pg_backend_pid()
"""


def start(folder: Path, url: str) -> subprocess.Popen[str]:
    """Start `groundwork migrate` with the SQL files of a copy."""
    return subprocess.Popen(
        [sys.executable, "-m", "groundwork", "migrate"],
        cwd=folder,
        env=bare_environment() | {"DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the exit; return the exit code and the output."""
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def lines_of_schema(url: str) -> set[str]:
    """Return the lines of the schema, in which the order of columns does not count."""
    return {line.rstrip(",") for line in schema(url).splitlines()}


def test_files_are_numbered_and_can_be_rolled_back() -> None:
    """Each migration is NNNN.verb-noun with a comment on top; no number or rollback is missing."""
    numbers = [int(name.partition(".")[0]) for name in migration_ids()]

    assert numbers == list(range(1, len(numbers) + 1)), migration_ids()
    for name in migration_ids():
        assert re.fullmatch(r"\d{4}\.[a-z0-9-]+", name)
        assert (FILES / f"{name}.sql").read_text().startswith("-- ")
        assert (FILES / f"{name}.rollback.sql").read_text().strip()


def test_migrate_names_what_it_applies(empty_database: str) -> None:
    """The first run logs each migration, the second has nothing to do."""
    first, second = migrate(empty_database), migrate(empty_database)

    assert first.stdout.splitlines() == [
        *(f"applied {name}" for name in migration_ids()),
        UP_TO_DATE,
    ]
    assert second.stdout.splitlines() == [UP_TO_DATE]


def test_migrate_logs_like_the_service(own_database: str) -> None:
    """With LOG_JSON, which is the default, each line is an object, an error's too."""
    urls = (own_database, "postgresql://u:s3cret@127.0.0.1:1/x")
    done = [groundwork("migrate", DATABASE_URL=url) for url in urls]
    (good,), (bad,) = ([json.loads(line) for line in one.stdout.splitlines()] for one in done)

    assert [one.returncode for one in done] == [0, 1]
    assert (good["level"], good["message"]) == ("INFO", UP_TO_DATE)
    assert bad["level"] == "ERROR"
    assert re.fullmatch("(?s)the connection failed: .*[^\n]", bad["message"])


def test_without_json_lines_are_for_people() -> None:
    """With LOG_JSON=false an error is a line on stderr, without the password."""
    url = "postgresql://u:s3cret@127.0.0.1:1/x"
    done = groundwork("migrate", DATABASE_URL=url, LOG_JSON="false")

    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch("(?s)the connection failed: .*[^\n]\n", done.stderr)
    assert "s3cret" not in done.stderr


def test_a_message_in_another_encoding_is_shown() -> None:
    """Before a session begins, a server or OpenSSL may say what is not UTF-8."""
    text = b"SFATAL\0C28000\0MZugang f\xfcr u verboten\0\0"
    message = b"E" + (len(text) + 4).to_bytes(4, "big") + text

    def refuse(server: socket.socket) -> None:
        with server.accept()[0] as client:
            client.sendall(message)

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor() as pool:
        pool.submit(refuse, server)
        done = migrate(f"postgresql://u@127.0.0.1:{server.getsockname()[1]}/d?sslmode=disable")

    assert done.returncode == 1
    assert re.fullmatch("the connection failed: .*Zugang f\ufffdr u verboten\n", done.stderr)


def test_on_a_terminal_lines_are_for_people(own_database: str) -> None:
    """A person reads them there, so LOG_JSON does not count."""
    reading, writing = os.openpty()
    subprocess.run(
        [sys.executable, "-m", "groundwork", "migrate"],
        env=bare_environment() | {"DATABASE_URL": own_database},
        stdout=writing,
        stderr=subprocess.PIPE,
        check=True,
    )
    os.close(writing)

    with os.fdopen(reading) as terminal:
        assert terminal.readline().endswith(f" {UP_TO_DATE}\n")


def test_check_names_what_is_pending(copy: Path, own_database: str) -> None:
    """`groundwork migrate --check` exits with 1 until `groundwork migrate` has run."""
    (copy / "sql/migrations/9003.create-new.sql").write_text("CREATE TABLE new ();")
    before = migrate(own_database, copy, check=True)
    migrate(own_database, copy).check_returncode()
    after = migrate(own_database, copy, check=True)

    assert (before.returncode, before.stderr) == (1, "pending: 9003.create-new\n")
    assert (after.returncode, after.stdout) == (0, f"{UP_TO_DATE}\n")


def test_check_changes_nothing(empty_database: str) -> None:
    """The command line has the option, and not even yoyo's tables are created."""
    done = groundwork("migrate", "--check", DATABASE_URL=empty_database)

    assert (done.returncode, f"pending: {', '.join(migration_ids())}" in done.stdout) == (1, True)
    assert run(empty_database, "SELECT to_regclass('_yoyo_migration')") == [(None,)]


def test_check_needs_no_right_to_write(own_database: str) -> None:
    """A standby or a role that may only read is enough, and a missing checksum is not stored."""
    run(own_database, "DROP TABLE _groundwork_migration")
    options = "options=-c%20default_transaction_read_only%3Don"

    assert migrate(f"{own_database}&{options}", check=True).returncode == 0
    assert run(own_database, "SELECT to_regclass('_groundwork_migration')") == [(None,)]


def test_up_down_up_is_what_migrate_makes(empty_database: str, own_database: str) -> None:
    """Through yoyo, all up, all down and all up again makes the schema of `migrate`."""
    for arguments in (["apply"], ["rollback", "--all"], ["apply"]):
        done = yoyo(*arguments, "--batch", url=empty_database)
        assert done.returncode == 0, done.stderr
        if arguments[0] == "rollback":
            assert run(empty_database, "SELECT to_regclass('installation')") == [(None,)]

    assert schema(empty_database) == schema(own_database)


def test_each_rollback_undoes_its_migration(empty_database: str) -> None:
    """After it the schema is as before, but for the order of columns: a new one is the last."""
    names, before = migration_ids(), []
    for name in names:
        before.append(lines_of_schema(empty_database))
        yoyo("apply", "--revision", name, "--batch", url=empty_database).check_returncode()
    for name in reversed(names[1:]):  # before the first, yoyo has no tables
        yoyo("rollback", "--revision", name, "--batch", url=empty_database).check_returncode()
        assert lines_of_schema(empty_database) ^ before.pop() == set(), f"{name}.rollback.sql"


@pytest.mark.parametrize("folder", [".", "sql/migrations"])
def test_yoyo_lists_the_same(folder: str, own_database: str) -> None:
    """`yoyo list`, run in a checkout or below, knows what `migrate` has applied."""
    listed = subprocess.check_output(
        [Path(sys.executable).with_name("yoyo"), "list"],
        cwd=CHECKOUT / folder,
        env=bare_environment() | {"DATABASE_URL": own_database},
        text=True,
    )

    assert [line.split()[:2] for line in listed.splitlines()[2:]] == [
        ["A", name] for name in migration_ids()
    ]


def test_yoyo_has_the_methods_that_are_overridden() -> None:
    """A release of yoyo that renames one would call its own; yoyo has no types for mypy."""
    overrides = [name for name, one in vars(Backend).items() if hasattr(one, "__override__")]

    assert overrides
    assert [name for name in overrides if not hasattr(PostgresqlBackend, name)] == []


def test_yoyo_works_in_a_folder_of_any_name(copy: Path, own_database: str) -> None:
    """Spaces, brackets and percent signs in its path hide no migration."""
    folder = copy.rename(copy.with_name("a [b] (1) 100%"))

    assert yoyo("list", url=own_database, folder=folder).stdout.count("A  ") == COUNT


def test_yoyo_does_not_mark_what_has_failed(copy: Path, own_database: str) -> None:
    """`yoyo apply --force` fails like `yoyo apply`."""
    (copy / "sql/migrations/9003.divide.sql").write_text("SELECT 1 / 0;")

    done = yoyo("apply", "--force", url=own_database, folder=copy)

    assert (done.returncode, "9003.divide failed" in done.stderr) == (1, True)
    assert run(own_database, MARKS) == ALL


def test_yoyo_reapplies_in_order(copy: Path, own_database: str) -> None:
    """What was rolled back from the last to the first is applied from the first to the last."""
    done = yoyo("reapply", "--all", url=own_database, folder=copy)

    assert (done.returncode, done.stderr) == (0, "")
    assert run(own_database, MARKS) == ALL


def test_marks_that_cannot_be_read_are_said_in_one_line(copy: Path, own_database: str) -> None:
    """A role without rights gets the database's message, from each command."""
    url = f"{own_database}&options=-c%20role%3Dpg_monitor"

    for done in (migrate(url, copy, check=True), yoyo("list", url=url, folder=copy)):
        assert done.returncode == 1
        assert done.stderr == (
            "reading yoyo's tables failed: permission denied for table _yoyo_migration\n"
        )


@pytest.mark.parametrize("arguments", [["apply"], ["rollback", "--all"]])
def test_a_read_only_database_is_said_in_one_line(own_database: str, arguments: list[str]) -> None:
    """A yoyo command that has something to write gets the database's message."""
    run(own_database, "DELETE FROM _yoyo_migration WHERE migration_id LIKE '0002%'")
    url = f"{own_database}&options=-c%20default_transaction_read_only%3Don"

    done = yoyo(*arguments, "--batch", url=url)

    assert done.returncode == 1
    assert done.stderr == (
        "yoyo's tables failed: cannot execute CREATE TABLE in a read-only transaction\n"
    )


def test_yoyo_does_not_roll_back_without_a_file(copy: Path, own_database: str) -> None:
    """A rollback file that is missing is named, and the migration stays marked."""
    (copy / f"sql/migrations/{migration_ids()[-1]}.rollback.sql").unlink()

    done = yoyo("rollback", "--revision", migration_ids()[-1], url=own_database, folder=copy)

    assert (done.returncode, f"{migration_ids()[-1]}.rollback.sql" in done.stderr) == (1, True)
    assert run(own_database, MARKS) == ALL


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


@pytest.mark.faults
@pytest.mark.parametrize("directive", ["", "-- transactional: false\n"])
def test_five_at_once(directive: str, copy: Path, empty_database: str) -> None:
    """Replicas that migrate at once all succeed, and each migration runs once."""
    (copy / "sql/migrations/9003.create-slow.sql").write_text(
        f"{directive}CREATE TABLE slow (); SELECT pg_sleep(0.5);"
    )
    outcomes = [finish(process) for process in [start(copy, empty_database) for _ in range(5)]]

    output = "".join(output for _, output in outcomes)
    assert [code for code, _ in outcomes] == [0] * 5
    assert output.count("applied 9003.create-slow") == 1
    assert run(empty_database, MARKS) == ONE_MORE


@pytest.mark.faults
def test_five_at_once_on_a_database_without_checksums(copy: Path, own_database: str) -> None:
    """The first release with checksums may be started in replicas as well."""
    run(own_database, "DROP TABLE _groundwork_migration")
    outcomes = [finish(process) for process in [start(copy, own_database) for _ in range(5)]]

    output = "".join(output for _, output in outcomes)
    assert [code for code, _ in outcomes] == [0] * 5
    assert output.count(f"stored the checksum of {migration_ids()[0]}") == 1
    assert run(own_database, MARKS) == ALL


@pytest.mark.faults
def test_indexes_can_be_made_concurrently_while_others_wait(
    copy: Path, empty_database: str
) -> None:
    """Waiting for the lock holds no snapshot that CREATE INDEX CONCURRENTLY would wait for."""
    (copy / "sql/migrations/9003.create-index.sql").write_text(
        "-- transactional: false\n"
        "CREATE INDEX CONCURRENTLY by_creation ON installation (created_at);"
    )
    outcomes = [finish(process) for process in [start(copy, empty_database) for _ in range(3)]]

    assert [code for code, _ in outcomes] == [0] * 3
    assert run(empty_database, "SELECT to_regclass('by_creation') IS NULL") == [(False,)]
    assert run(empty_database, MARKS) == ONE_MORE


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_leaves_nothing(number: int, copy: Path, own_database: str) -> None:
    """The server notices, and the next run applies the migration without yoyo break-lock."""
    slow = copy / "sql/migrations/9003.create-slow.sql"
    slow.write_text("CREATE TABLE slow (); SELECT pg_sleep(60);")
    killed = start(copy, own_database)
    wait_until(lambda: run(own_database, SLEEPING))
    killed.send_signal(number)
    finish(killed)
    wait_until(lambda: not run(own_database, SLEEPING))
    left = run(own_database, MARKS)
    slow.write_text("CREATE TABLE slow ();")

    assert "applied 9003.create-slow" in migrate(own_database, copy).stdout
    assert (left, run(own_database, MARKS)) == (ALL, ONE_MORE)


@pytest.mark.parametrize(
    ("number", "sql"),
    [(signal.SIGTERM, TAKE_LOCK), (signal.SIGINT, "SELECT 1")],
    ids=["SIGTERM, for the lock", "SIGINT, for a statement"],
)
def test_a_signal_ends_a_wait(number: int, sql: str, copy: Path, own_database: str) -> None:
    """It has a handler, so it counts for process 1 of a container too, whatever the wait."""
    (copy / "sql/migrations/9003.sleep.sql").write_text("SELECT pg_sleep(60);")
    with transaction(own_database, sql):
        process = start(copy, own_database)
        sessions = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'groundwork migrate'"
        wait_until(lambda: run(own_database, f"{sessions} AND datname = current_database()"))
        time.sleep(0.5)
        sent = time.monotonic()
        process.send_signal(number)

        assert finish(process)[0] == 128 + number
        assert time.monotonic() - sent < 10


def test_yoyos_stale_lock_is_ignored(own_database: str) -> None:
    """A lock row that another yoyo has left stops no migration."""
    run(own_database, "INSERT INTO yoyo_lock VALUES (1, now(), 1)")

    assert migrate(own_database).returncode == 0


def test_a_failing_migration_leaves_nothing(copy: Path, own_database: str) -> None:
    """A migration that fails half-way is rolled back, named, and not marked."""
    (copy / "sql/migrations/9003.create-half.sql").write_text("CREATE TABLE half (); SELECT 1 / 0;")

    done = migrate(own_database, copy)

    assert done.returncode == 1
    assert done.stderr == "9003.create-half failed: division by zero\nLINE 1: SELECT 1 / 0\n"
    assert run(own_database, "SELECT to_regclass('half')") == [(None,)]
    assert run(own_database, MARKS) == ALL


def test_what_the_server_says_is_logged(copy: Path, own_database: str) -> None:
    """IF NOT EXISTS may have skipped a table that is another one, and RAISE NOTICE counts rows."""
    (copy / "sql/migrations/9003.create-new.sql").write_text(
        "CREATE TABLE IF NOT EXISTS installation (n int); DO $$ BEGIN RAISE WARNING 'two'; END $$"
    )

    said, two, applied, _ = migrate(own_database, copy).stdout.splitlines()

    assert said == 'NOTICE:  relation "installation" already exists, skipping'
    assert (two, applied) == ("WARNING:  two", "applied 9003.create-new")


def test_a_change_and_its_mark_are_one_transaction(copy: Path, own_database: str) -> None:
    """When the mark "applied" can't be written, the change is not there either."""
    (copy / "sql/migrations/9003.create-lone.sql").write_text("CREATE TABLE lone ();")
    run(own_database, "ALTER TABLE _yoyo_migration ADD CHECK (migration_id NOT LIKE '%lone')")

    done = migrate(own_database, copy)

    assert (done.returncode, "9003.create-lone" in done.stderr) == (1, True)
    assert run(own_database, "SELECT to_regclass('lone')") == [(None,)]


@pytest.mark.parametrize("name", ["0000.nothing", "9003.create-odd"])
def test_an_unresolved_dependency_is_an_error(name: str, copy: Path, own_database: str) -> None:
    """A migration that depends on an unknown one or on itself is refused; yoyo would skip it."""
    (copy / "sql/migrations/9003.create-odd.sql").write_text(f"-- depends: {name}\nSELECT 1;")

    for done in (
        migrate(own_database, copy),
        yoyo("list", url=own_database, folder=copy),
        yoyo("apply", url=own_database, folder=copy),
    ):
        assert (done.returncode, "9003.create-odd" in done.stderr) == (1, True)


def test_a_user_without_a_name(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A UID that has no passwd entry migrates as well."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(pwd, "getpwuid", Mock(side_effect=KeyError))

    migrate(empty_database).check_returncode()

    assert run(empty_database, "SELECT DISTINCT username FROM _yoyo_log") == [(str(os.getuid()),)]


@pytest.fixture
def role(own_database: str) -> str:
    """Return the name of the role that the tests connect as."""
    name: str = run(own_database, "SELECT quote_ident(current_user)")[0][0]
    return name


def test_a_new_schema_of_the_role_hides_no_tables(copy: Path, own_database: str, role: str) -> None:
    """Where new tables would go elsewhere, nothing is applied, and both schemas are named."""
    run(own_database, f"CREATE SCHEMA {role}")
    up_to_date = migrate(own_database)
    (copy / "sql/migrations/9003.create-new.sql").write_text("CREATE TABLE new ();")
    refused = [migrate(own_database, copy), migrate(own_database, copy, check=True)]

    assert up_to_date.returncode == 0
    for done in refused:
        assert (done.returncode, done.stdout) == (1, "")
        assert f"in schema public, but new tables would be created in schema {role}" in done.stderr


def test_another_application_may_use_yoyo_too(copy: Path, own_database: str) -> None:
    """Its tables, in a schema of their own, hide none and stop nothing."""
    run(own_database, "CREATE SCHEMA other; CREATE TABLE other._yoyo_migration ()")
    (copy / "sql/migrations/9003.create-new.sql").write_text("CREATE TABLE new ();")

    assert migrate(own_database, copy).stderr == ""
    assert run(own_database, MARKS) == ONE_MORE


def test_tables_outside_the_search_path_are_found(own_database: str, role: str) -> None:
    """A second set of tables is not created beside the first."""
    run(own_database, f"CREATE SCHEMA other; ALTER SCHEMA public RENAME TO {role}_old")
    run(own_database, "CREATE SCHEMA public")

    done = migrate(own_database)
    run(own_database, "DROP SCHEMA public")
    without = migrate(own_database)

    assert (done.returncode, f"in schema {role}_old" in done.stderr) == (1, True)
    assert run(own_database, "SELECT to_regclass('_yoyo_migration')") == [(None,)]
    assert "new tables would be created in no schema: set the search_path" in without.stderr
