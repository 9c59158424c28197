"""Applied migrations whose files have changed or are missing."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from groundwork.core.database.migration_files import migration_ids
from tests.databases import CHECKOUT, MARKS, migrate, run, yoyo

FIRST, LAST = migration_ids()[0], migration_ids()[-1]
ALL = (len(migration_ids()), len(migration_ids()))
REFUSED = "nothing was applied:\n"
CHANGED = (
    "  {0} has changed since it was applied: restore the file, and put the change into a new "
    "migration. In development, undo it with `yoyo rollback --revision {0}` and apply it again, "
    "or delete the data in .groundwork/postgres\n"
)
MISSING = (
    "  {} has been applied and its file is missing: restore it, or deploy the release that has it\n"
)

HASH = hashlib.sha256(FIRST.encode()).hexdigest()  # yoyo's, of the name

type Command = Callable[[str, Path], CompletedProcess[str]]
each_command = pytest.mark.parametrize(
    "command",
    [
        migrate,
        lambda url, folder: migrate(url, folder, check=True),
        lambda url, folder: yoyo("apply", folder=folder, url=url),
    ],
    ids=["groundwork migrate", "groundwork migrate --check", "yoyo apply"],
)


def add(folder: Path, name: str = "9003.create-new") -> None:
    """Add a migration that creates the table "new" to a copy."""
    (folder / f"sql/migrations/{name}.sql").write_text("CREATE TABLE new ();")


def change(folder: Path, name: str = FIRST, ending: str = "SELECT 1;\n") -> None:
    """Append to a migration of a copy."""
    with (folder / f"sql/migrations/{name}.sql").open("a") as file:
        file.write(ending)


def remove(folder: Path, name: str) -> None:
    """Delete a migration of a copy."""
    (folder / f"sql/migrations/{name}.sql").unlink()
    (folder / f"sql/migrations/{name}.rollback.sql").unlink()


def is_new(url: str) -> bool:
    """Return whether the migration of add() was applied."""
    return run(url, "SELECT to_regclass('new') IS NOT NULL") == [(True,)]


@each_command
def test_a_changed_file_is_refused(command: Command, copy: Path, own_database: str) -> None:
    """Nothing is applied, and the message names the file and the ways out."""
    change(copy)
    add(copy)

    done = command(own_database, copy)

    assert (done.returncode, done.stdout, done.stderr) == (1, "", REFUSED + CHANGED.format(FIRST))
    assert not is_new(own_database)


@each_command
def test_a_missing_file_is_refused(command: Command, copy: Path, own_database: str) -> None:
    """Later migrations were not written for a database that has it."""
    remove(copy, LAST)
    add(copy)

    done = command(own_database, copy)

    assert (done.returncode, done.stdout, done.stderr) == (1, "", REFUSED + MISSING.format(LAST))
    assert not is_new(own_database)


def test_a_missing_file_is_refused_with_nothing_pending(copy: Path, own_database: str) -> None:
    """A release without a migration in the middle is broken."""
    remove(copy, FIRST)

    assert migrate(own_database, copy).stderr == REFUSED + MISSING.format(FIRST)


def test_another_branch_of_releases_is_refused(copy: Path, own_database: str) -> None:
    """An unknown migration that comes last does not help where there is something to apply."""
    remove(copy, LAST)
    add(copy, "0002.another")

    done = migrate(own_database, copy)

    assert (done.returncode, done.stderr) == (1, REFUSED + MISSING.format(LAST))
    assert not is_new(own_database)


@each_command
def test_the_release_before_can_be_deployed_again(
    command: Command, copy: Path, own_database: str
) -> None:
    """What a newer release has applied is named and left as it is."""
    remove(copy, LAST)

    done = command(own_database, copy)

    assert done.returncode == 0
    assert f"{LAST} was applied by a newer release and is left as it is" in done.stdout
    assert run(own_database, MARKS) == [ALL]


@pytest.mark.parametrize("command", [("rollback", "--all"), ("reapply",)])
def test_nothing_is_rolled_back_below_an_unknown_migration(
    command: tuple[str, ...], copy: Path, own_database: str
) -> None:
    """The last one is a newer release's or another branch's, and may need what is below it."""
    remove(copy, LAST)

    done = yoyo(*command, folder=copy, url=own_database)

    assert (done.returncode, done.stderr) == (1, MISSING.format(LAST).lstrip())
    assert run(own_database, MARKS) == [ALL]


def test_a_migration_above_an_unknown_one_is_rolled_back(copy: Path, own_database: str) -> None:
    """What has been applied before it does not need it."""
    remove(copy, FIRST)

    done = yoyo("rollback", "--revision", LAST, folder=copy, url=own_database)

    assert (done.returncode, done.stderr) == (0, "")
    assert run(own_database, MARKS) == [(ALL[0] - 1, ALL[1] - 1)]


def test_every_file_is_named_at_once(copy: Path, own_database: str) -> None:
    """There is a line for each file."""
    remove(copy, FIRST)
    change(copy, LAST)

    done = migrate(own_database, copy)

    assert done.stderr == REFUSED + CHANGED.format(LAST) + MISSING.format(FIRST)


@pytest.mark.parametrize("first", ["CRLF", "LF"])
def test_line_endings_do_not_count(copy: Path, empty_database: str, first: str) -> None:
    """A checkout with CRLF and one with LF have the same checksums."""
    for path in (copy / "sql/migrations").iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    folders = [copy, CHECKOUT] if first == "CRLF" else [CHECKOUT, copy]
    outcomes = [migrate(empty_database, folder) for folder in folders]

    assert [(done.returncode, done.stderr) for done in outcomes] == [(0, "")] * 2


@pytest.mark.parametrize("ending", [" ", "-- clearer"])
def test_all_else_counts(copy: Path, own_database: str, ending: str) -> None:
    """A space and a comment do, also when nothing is pending."""
    change(copy, ending=ending)

    assert migrate(own_database, copy).stderr == REFUSED + CHANGED.format(FIRST)


def test_a_rollback_file_may_change(copy: Path, own_database: str) -> None:
    """A rollback file has no checksum."""
    change(copy, f"{FIRST}.rollback")

    assert migrate(own_database, copy).returncode == 0


def test_missing_checksums_are_stored(copy: Path, own_database: str) -> None:
    """A database from before there were checksums gets those of the files as they are, once."""
    run(own_database, "DROP TABLE _groundwork_migration")
    first, second = migrate(own_database), migrate(own_database)
    change(copy)

    stored = [f"stored the checksum of {name}" for name in migration_ids()]
    assert first.stdout.splitlines() == [*stored, "the database is up to date"]
    assert second.stdout == "the database is up to date\n"
    assert migrate(own_database, copy).stderr == REFUSED + CHANGED.format(FIRST)


def test_no_checksum_is_stored_when_a_file_is_refused(copy: Path, own_database: str) -> None:
    """Nothing is written before every file is right."""
    change(copy, LAST)
    run(own_database, f"DELETE FROM _groundwork_migration WHERE migration_hash = '{HASH}'")

    assert migrate(own_database, copy).stderr == REFUSED + CHANGED.format(LAST)
    assert run(own_database, MARKS) == [(ALL[0], ALL[0] - 1)]


def test_rolled_back_it_may_change(copy: Path, own_database: str) -> None:
    """After `yoyo rollback` a file may be edited, and is applied with a new checksum."""
    change(copy, LAST)
    undone = yoyo("rollback", "--revision", LAST, folder=copy, url=own_database)
    stored = run(own_database, MARKS)
    done = migrate(own_database, copy)

    assert (undone.returncode, stored) == (0, [(ALL[0] - 1, ALL[0] - 1)])
    assert (done.returncode, f"applied {LAST}" in done.stdout) == (0, True)
    assert run(own_database, MARKS) == [ALL]


def test_a_change_can_be_accepted(copy: Path, own_database: str) -> None:
    """Where the checksums are deleted, the next run stores those of the files as they are."""
    change(copy, LAST)
    run(own_database, "DELETE FROM _groundwork_migration")

    assert migrate(own_database, copy).returncode == 0
    assert migrate(own_database).stderr == REFUSED + CHANGED.format(LAST)


def test_marking_stores_the_checksum(copy: Path, own_database: str) -> None:
    """`yoyo unmark` deletes the checksum, `yoyo mark` stores that of the file as it is."""
    change(copy, LAST)
    for command, stored in (("unmark", (ALL[0] - 1, ALL[0] - 1)), ("mark", ALL)):
        done = yoyo(command, "--revision", LAST, folder=copy, url=own_database)
        assert done.returncode == 0, done.stderr
        assert run(own_database, MARKS) == [stored]

    assert migrate(own_database, copy).returncode == 0


@pytest.mark.parametrize("directive", ["", "-- transactional: false\n"])
def test_mark_and_checksum_are_one_transaction(
    copy: Path, own_database: str, directive: str
) -> None:
    """When the checksum can't be stored, the migration is not marked either."""
    (copy / "sql/migrations/9003.do.sql").write_text(f"{directive}SELECT 1;")
    run(own_database, "ALTER TABLE _groundwork_migration ADD CHECK (false) NOT VALID")

    assert migrate(own_database, copy).returncode == 1
    assert run(own_database, MARKS) == [ALL]
