"""Migrations that were applied, and whose files are no longer what they were."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from groundwork.core.database.connections import migration_ids
from tests.databases import CHECKOUT, NOTES, migrate, run, yoyo

FIRST, LAST = migration_ids()[0], migration_ids()[-1]
ALL = (len(migration_ids()), len(migration_ids()))
CHANGED = (
    "groundwork: nothing was applied: {} has changed since it was applied: "
    "restore its file, and put the change into a new migration\n"
)
GONE = (
    "groundwork: nothing was applied: {} has been applied and its file is gone: "
    "restore it, or deploy the release that brought it\n"
)

HASH = hashlib.sha256(FIRST.encode()).hexdigest()  # which yoyo makes of the name

type Command = Callable[[str, Path], CompletedProcess[str]]
each_command = pytest.mark.parametrize(
    "command",
    [migrate, lambda url, folder: yoyo("apply", folder=folder, url=url)],
    ids=["groundwork migrate", "yoyo apply"],
)


def add(folder: Path, name: str = "9998.create-new") -> None:
    """Give a copy one more migration, which makes the table "new"."""
    (folder / f"sql/migrations/{name}.sql").write_text("CREATE TABLE new ();")


def change(folder: Path, name: str = FIRST, ending: str = "SELECT 1;\n") -> None:
    """Write something at the end of a copy's migration."""
    with (folder / f"sql/migrations/{name}.sql").open("a") as file:
        file.write(ending)


def remove(folder: Path, name: str) -> None:
    """Take a migration away from a copy."""
    (folder / f"sql/migrations/{name}.sql").unlink()
    (folder / f"sql/migrations/{name}.rollback.sql").unlink()


def is_new(url: str) -> bool:
    """Tell whether the migration that add() gave was applied."""
    return run(url, "SELECT to_regclass('new') IS NOT NULL") == [(True,)]


@each_command
def test_a_changed_file_is_refused(command: Command, copy: Path, own_database: str) -> None:
    """Nothing is applied, and the message names the file and the cure."""
    change(copy)
    add(copy)

    done = command(own_database, copy)

    assert (done.returncode, done.stdout, done.stderr) == (1, "", CHANGED.format(FIRST))
    assert not is_new(own_database)


@each_command
def test_a_gone_file_is_refused(command: Command, copy: Path, own_database: str) -> None:
    """Whatever comes next was not written for a database that has it."""
    remove(copy, LAST)
    add(copy)

    done = command(own_database, copy)

    assert (done.returncode, done.stdout, done.stderr) == (1, "", GONE.format(LAST))
    assert not is_new(own_database)


def test_a_gap_is_refused_with_nothing_to_apply(copy: Path, own_database: str) -> None:
    """No release lacks a migration in the middle, so this one is broken."""
    remove(copy, FIRST)

    assert migrate(own_database, copy).stderr == GONE.format(FIRST)


def test_another_line_of_releases_is_refused(copy: Path, own_database: str) -> None:
    """Even where what it does not know comes last, it adds nothing to it."""
    remove(copy, LAST)
    add(copy, "0002.another")

    done = migrate(own_database, copy)

    assert (done.returncode, done.stderr) == (1, GONE.format(LAST))
    assert not is_new(own_database)


@each_command
def test_a_release_that_was_rolled_back_starts(
    command: Command, copy: Path, own_database: str
) -> None:
    """What a newer release applied is named and left as it is; there is nothing to do."""
    remove(copy, LAST)

    done = command(own_database, copy)

    left = f"groundwork: {LAST} is a newer release's, and is left as it is\n"
    assert (done.returncode, done.stderr) == (0, left)
    assert run(own_database, NOTES) == [ALL]


def test_all_that_is_wrong_is_said_at_once(copy: Path, own_database: str) -> None:
    """A line for each file, as many as there are."""
    remove(copy, FIRST)
    change(copy, LAST)

    done = migrate(own_database, copy)

    assert done.stderr == CHANGED.format(LAST) + GONE.format(FIRST)


@pytest.mark.parametrize("first", ["CRLF", "LF"])
def test_line_ends_do_not_count(copy: Path, empty_database: str, first: str) -> None:
    """A checkout with CRLF and one with LF are the same, as they are to yoyo."""
    for path in (copy / "sql/migrations").iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    folders = [copy, CHECKOUT] if first == "CRLF" else [CHECKOUT, copy]
    outcomes = [migrate(empty_database, folder) for folder in folders]

    assert [(done.returncode, done.stderr) for done in outcomes] == [(0, "")] * 2


@pytest.mark.parametrize("ending", [" ", "-- clearer"])
def test_all_else_counts(copy: Path, own_database: str, ending: str) -> None:
    """A space and a comment do, and with nothing to apply too: the files must tell the truth."""
    change(copy, ending=ending)

    assert migrate(own_database, copy).stderr == CHANGED.format(FIRST)


def test_a_rollback_file_may_change(copy: Path, own_database: str) -> None:
    """It was not applied."""
    change(copy, f"{FIRST}.rollback")

    assert migrate(own_database, copy).returncode == 0


def test_what_has_no_note_is_noted_as_it_is(copy: Path, own_database: str) -> None:
    """A database from before there were notes gets them, once, and is held to them."""
    run(own_database, "DROP TABLE _groundwork_migration")
    first, second = migrate(own_database), migrate(own_database)
    change(copy)

    noted = [f"noted {name} as its file is now" for name in migration_ids()]
    assert first.stdout.splitlines() == [*noted, "the database is up to date"]
    assert second.stdout == "the database is up to date\n"
    assert migrate(own_database, copy).stderr == CHANGED.format(FIRST)


def test_nothing_is_noted_when_it_is_refused(copy: Path, own_database: str) -> None:
    """Refused is refused: no note is made either."""
    change(copy, LAST)
    run(own_database, f"DELETE FROM _groundwork_migration WHERE migration_hash = '{HASH}'")

    assert migrate(own_database, copy).stderr == CHANGED.format(LAST)
    assert run(own_database, NOTES) == [(ALL[0], ALL[0] - 1)]


def test_rolled_back_it_may_change(copy: Path, own_database: str) -> None:
    """What a developer has undone is free to be edited, and is noted anew."""
    change(copy, LAST)
    undone = yoyo("rollback", "--revision", LAST, folder=copy, url=own_database)
    notes = run(own_database, NOTES)
    done = migrate(own_database, copy)

    assert (undone.returncode, notes) == (0, [(ALL[0] - 1, ALL[0] - 1)])
    assert (done.returncode, f"applied {LAST}" in done.stdout) == (0, True)
    assert run(own_database, NOTES) == [ALL]


def test_a_change_can_be_accepted(copy: Path, own_database: str) -> None:
    """Where the notes are deleted, the next migrate takes the files as they are."""
    change(copy, LAST)
    run(own_database, "DELETE FROM _groundwork_migration")

    assert migrate(own_database, copy).returncode == 0
    assert migrate(own_database).stderr == CHANGED.format(LAST)


def test_marking_notes_the_text(copy: Path, own_database: str) -> None:
    """`yoyo unmark` takes the note away, `yoyo mark` makes one of the file as it is."""
    change(copy, LAST)
    for command, notes in (("unmark", (ALL[0] - 1, ALL[0] - 1)), ("mark", ALL)):
        done = yoyo(command, "--revision", LAST, folder=copy, url=own_database)
        assert done.returncode == 0, done.stderr
        assert run(own_database, NOTES) == [notes]

    assert migrate(own_database, copy).returncode == 0


@pytest.mark.parametrize("directive", ["", "-- transactional: false\n"])
def test_mark_and_note_are_one_transaction(copy: Path, own_database: str, directive: str) -> None:
    """When the text can't be noted, the migration is not marked either."""
    (copy / "sql/migrations/9998.do.sql").write_text(f"{directive}SELECT 1;")
    run(own_database, "ALTER TABLE _groundwork_migration ADD CHECK (false) NOT VALID")

    assert migrate(own_database, copy).returncode == 1
    assert run(own_database, NOTES) == [ALL]
