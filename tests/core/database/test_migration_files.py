"""Which files are migrations, and how they are split into statements."""

import locale
from collections.abc import Callable
from contextlib import chdir
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import patch

import pytest

from groundwork.core.database import migration_files
from groundwork.core.database.migration_files import directive, migration_ids, read_sql
from groundwork.core.database.migration_statements import statements
from tests import databases
from tests.databases import MARKS, migrate, run, yoyo

ALL = len(migration_ids())
INDEX = "-- transactional: false\nCREATE INDEX CONCURRENTLY new ON installation (created_at)"
TWICE = "-- transactional: false\n-- transactional: false"
AFTER_A_COMMENT = "-- An index.\n\n -- transactional: false"
AFTER_A_BLOCK = "/* A licence:\nfree */\n-- transactional: false"
IN_THE_MIDDLE = "SELECT 1;\n-- transactional: false"
# What psql takes around a statement.
AROUND = {
    "a comment": "{};\n-- the end; really",
    "a comment and no semicolon": "{} -- the end; really",
    "a nested comment": "{};\n/* a /* b /* c /* d; */ e; */ f; */ g; */",
    "empty statements": "{};;\n;",
    "a byte order mark": "\ufeff{};\r\n",
}


def test_an_id_is_the_name_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Migrations are listed in order, without their rollback files."""
    names = tuple(f"{number:04}.create-new" for number in range(20))
    for name in (*reversed(names), "0001.create-new.rollback"):
        (tmp_path / f"{name}.sql").touch()
    monkeypatch.setattr(migration_files, "FOLDER", tmp_path)

    assert migration_ids.__wrapped__() == names


@pytest.mark.parametrize(
    "name",
    [
        "9004.create.py",
        "9004.create.sql.py",
        "9003.create.SQL",
        "post-apply.sql",
        ".#9003.create.sql",
        "_tmp.sql",
        "0002.create-installation.down.sql",
        "0002.create-installation.undo.sql",
        "0002.create-installation.Rollback.sql",
    ],
)
def test_a_file_that_is_not_supported_is_refused(
    name: str, copy: Path, own_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both commands name what only looks like a migration, and readiness does not wait for it."""
    (copy / f"sql/migrations/{name}").write_text("")
    (copy / "sql/migrations/9003.create-v1.2.sql").write_text("CREATE TABLE new ();")

    done = [migrate(own_database, copy), yoyo("apply", url=own_database, folder=copy)]
    monkeypatch.setattr(migration_files, "FOLDER", copy / "sql/migrations")

    refused = f"{name} is not supported: "
    assert [(one.returncode, refused in one.stderr) for one in done] == [(1, True)] * 2
    assert run(own_database, MARKS) == [(ALL, ALL)]
    assert migration_ids.__wrapped__() == (*migration_ids(), "9003.create-v1.2")


@pytest.mark.parametrize(
    "name", ["9003.create.sql~", ".9003.create.sql.swp", "#9003.create.sql#", "README.md"]
)
def test_a_file_of_another_kind_is_ignored(name: str, copy: Path, own_database: str) -> None:
    """What an editor keeps beside a migration stops nothing."""
    (copy / f"sql/migrations/{name}").write_text("CREATE TABLE new ();")

    assert migrate(own_database, copy).stdout == "the database is up to date\n"


@pytest.mark.parametrize(
    "content",
    [
        b"SELECT '\xe9';",
        b"SELECT 1;\0SELECT 2;",
        b"-- transactional: false x\n",
        b"-- An index.\n-- transactional: no\n",
    ],
)
def test_a_file_that_cannot_be_read_is_refused(
    content: bytes, copy: Path, own_database: str
) -> None:
    """A file that is not UTF-8, or whose directive is unknown, is named."""
    (copy / "sql/migrations/9003.create-new.sql").write_bytes(content)

    done = migrate(own_database, copy)

    assert (done.returncode, "9003.create-new.sql" in done.stderr) == (1, True)


@pytest.mark.parametrize("command", [migrate, partial(yoyo, "apply")], ids=["migrate", "yoyo"])
def test_a_file_is_utf_8_in_any_locale(
    command: Callable[..., CompletedProcess[str]], copy: Path, own_database: str
) -> None:
    """The encoding of the caller's locale, here ASCII, is not that of the files."""
    (copy / "sql/migrations/9003.create-new.sql").write_text("SELECT 'ü'", "utf-8")
    before = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, "C")
    try:
        done = command(url=own_database, folder=copy)
    finally:
        locale.setlocale(locale.LC_CTYPE, before)

    assert (done.returncode, run(own_database, MARKS)) == (0, [(ALL + 1, ALL + 1)]), done.stderr


def test_yoyo_finds_the_files_from_any_folder(
    copy: Path, own_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where `--config` names yoyo.ini, the sources are not those below the current folder."""
    monkeypatch.setattr(databases, "chdir", lambda _: chdir(tmp_path))

    done = yoyo("list", "--config", str(copy / "yoyo.ini"), url=own_database, folder=copy)

    assert set(migration_ids()) <= set(done.stdout.split())


def test_a_file_that_is_edited_meanwhile_counts_as_it_was(tmp_path: Path) -> None:
    """What is applied and what is recorded are the text that was read first."""
    (file := tmp_path / "9003.create-new.sql").write_text("SELECT 1")
    read_sql(file)
    file.write_text("SELECT 2")

    assert read_sql(file) == "SELECT 1"


def test_a_link_to_nowhere_is_refused(copy: Path, own_database: str) -> None:
    """It is named, as what cannot be read: an editor may have left it."""
    (copy / "sql/migrations/.#9003.create.sql").symlink_to("nowhere")

    assert ".#9003.create.sql can't be read: " in migrate(own_database, copy).stderr


def test_a_folder_without_migrations_is_refused(copy: Path, empty_database: str) -> None:
    """No migrations at all is a broken installation, not an empty schema."""
    for path in (copy / "sql/migrations").iterdir():
        path.unlink()

    done = migrate(empty_database, copy)

    assert (done.returncode, "no migrations in" in done.stderr) == (1, True)


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
@pytest.mark.parametrize("sql", [INDEX, "CREATE TABLE new ()"], ids=["alone", "in a transaction"])
def test_files_are_taken_as_psql_takes_them(
    sql: str, around: str, copy: Path, own_database: str
) -> None:
    """Comments, empty statements and a byte order mark are fine, in rollback files too."""
    kind = "INDEX CONCURRENTLY" if sql == INDEX else "TABLE"
    for suffix, text in (("sql", sql), ("rollback.sql", f"DROP {kind} new")):
        file = copy / f"sql/migrations/9003.create-new.{suffix}"
        file.write_bytes(around.format(text).encode())

    applied = migrate(own_database, copy)
    found = run(own_database, "SELECT to_regclass('new') IS NOT NULL")
    undone = yoyo("rollback", "--revision", "9003", url=own_database, folder=copy)

    assert (applied.returncode, undone.returncode, found) == (0, 0, [(True,)]), applied.stderr
    assert run(own_database, "SELECT to_regclass('new')") == [(None,)]


@pytest.mark.parametrize("directive", ["", "-- transactional: false\n"])
@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE new (); COMMIT; SELECT 1 / 0",
        "CREATE TABLE new (); rollback",
        "CREATE TABLE new (); ABORT",
        "CREATE TABLE new (); END; SELECT 1 / 0",
        "/* one */ BEGIN; CREATE TABLE new ()",
        "START TRANSACTION; CREATE TABLE new ()",
        "CREATE TABLE new (); PREPARE  TRANSACTION 'new'",
        "CREATE TABLE new (); DISCARD  ALL",  # releases the lock of the runners
    ],
)
def test_a_file_does_not_end_its_transaction(
    sql: str, directive: str, copy: Path, own_database: str
) -> None:
    """The change would be kept without its mark, or only a part of it be tried again."""
    (copy / "sql/migrations/9003.create-new.sql").write_text(f"{directive}{sql}")

    done = migrate(own_database, copy)

    assert (done.returncode, "9003.create-new.sql line " in done.stderr) == (1, True)
    assert run(own_database, "SELECT to_regclass('new')") == [(None,)]
    assert run(own_database, MARKS) == [(ALL, ALL)]


@pytest.mark.parametrize("sql", ["SELECT 'a", "DO $$ BEGIN", "SELECT 1 /* one"])
def test_what_is_not_terminated_is_named(sql: str, copy: Path, own_database: str) -> None:
    """The error is of the file, not of what the runner sends after it."""
    (copy / "sql/migrations/9003.create-new.sql").write_text(f"{sql};")

    done = migrate(own_database, copy)

    assert "9003.create-new failed: unterminated" in done.stderr


def test_a_file_may_have_savepoints(copy: Path, own_database: str) -> None:
    """ROLLBACK TO does not end the transaction."""
    (copy / "sql/migrations/9003.do-nothing.sql").write_text(
        "SAVEPOINT a; ROLLBACK  TO a; ROLLBACK  WORK  TO a; ROLLBACK TRANSACTION TO a;"
        "DO $$ BEGIN PERFORM 1; END $$;"
    )

    assert migrate(own_database, copy).stderr == ""


@pytest.mark.parametrize("directive", ["", "-- transactional: false\n"])
def test_a_file_may_have_functions_and_rules(directive: str, copy: Path, own_database: str) -> None:
    """A semicolon in a function's body or between parentheses separates nothing."""
    (copy / "sql/migrations/9003.create-new.sql").write_text(
        f"{directive}CREATE FUNCTION one() RETURNS int LANGUAGE sql\n"
        "BEGIN ATOMIC SELECT CASE 1 WHEN 2 THEN 3 END; SELECT 1; END;\n"
        "CREATE TABLE new (n int); CREATE RULE twice AS ON INSERT TO new\n"
        "DO ALSO (DELETE FROM new; SELECT one()); INSERT INTO new VALUES (1)"
    )

    assert migrate(own_database, copy).stderr == ""
    assert run(own_database, "SELECT FROM new") == []


@pytest.mark.parametrize("directive", ["", "-- transactional: false\n"])
@pytest.mark.parametrize("sql", ["SELECT\n1 / 0", "SELECT\n  one, 2", "COPY\none FROM stdin"])
def test_an_error_has_a_line_of_the_file(
    sql: str, directive: str, copy: Path, own_database: str
) -> None:
    """It is where PostgreSQL points, or the first of the statement; no driver's method is named."""
    (copy / "sql/migrations/9003.create-new.sql").write_text(
        f"{directive}-- one\n\nSELECT 'two\n'; /*\n*/ {sql}; SELECT 3"
    )
    line = 5 + bool(directive) + ("one, 2" in sql)
    excerpt = "one, 2" if "one, 2" in sql else sql.partition("\n")[0]

    stderr = migrate(own_database, copy).stderr

    assert stderr.endswith(f"\nLINE {line}: {excerpt}\n")
    assert (stderr.count("LINE"), "copy_from" in stderr) == (1, False)


def test_an_error_names_the_rollback_file(copy: Path, own_database: str) -> None:
    """The line is that of the file which was run."""
    rollback = copy / "sql/migrations/0002.create-installation.rollback.sql"
    rollback.write_text("SELECT 1 / 0")

    done = yoyo("rollback", "--revision", "0002", url=own_database, folder=copy)

    assert done.stderr.startswith("0002.create-installation.rollback failed: division by zero\n")


def test_a_rollback_file_may_be_outside_a_transaction(copy: Path, own_database: str) -> None:
    """Its own directive counts, where its migration has none."""
    folder = copy / "sql/migrations"
    (folder / "9003.create-new.sql").write_text("CREATE INDEX new ON installation (created_at);")
    (folder / "9003.create-new.rollback.sql").write_text(
        "-- transactional: false\nDROP INDEX CONCURRENTLY new;"
    )
    migrate(own_database, copy).check_returncode()

    done = yoyo("rollback", "--revision", "9003", url=own_database, folder=copy)

    assert (done.returncode, run(own_database, "SELECT to_regclass('new')")) == (0, [(None,)])


@pytest.mark.parametrize(
    "top",
    [
        "-- transactional: false ",
        "--Transactional : FALSE\t",
        TWICE,
        AFTER_A_COMMENT,
        AFTER_A_BLOCK,
        IN_THE_MIDDLE,
    ],
)
def test_a_directive_is_read_in_any_spelling(top: str, copy: Path, own_database: str) -> None:
    """Upper case and white space do not count, nor does another one or what stands before it."""
    (copy / "sql/migrations/9003.vacuum.sql").write_text(f"{top}\r\nVACUUM installation")

    assert migrate(own_database, copy).stderr == ""


def test_a_sentence_is_no_directive(copy: Path, own_database: str) -> None:
    """A comment that happens to begin with the same word stops nothing."""
    assert directive("SELECT 1;\n-- transactional: false or true") == "true"
    text = "SELECT 1;\n-- transactional: all or nothing\nSELECT 2;"
    (copy / "sql/migrations/9003.select.sql").write_text(text)

    assert migrate(own_database, copy).stderr == ""


def test_a_large_file_is_not_parsed_by_yoyo(copy: Path, own_database: str) -> None:
    """Its parser takes seconds for each megabyte, and only comments on top are used."""
    depends = "-- depends: 9004.create-new\n"
    (copy / "sql/migrations/9003.select.sql").write_text(f"{depends}SELECT FROM new;\n" * 9)
    (copy / "sql/migrations/9004.create-new.sql").write_text("CREATE TABLE new ();")

    with patch("sqlparse.split", side_effect=AssertionError):
        done = [migrate(own_database, copy), yoyo("list", url=own_database, folder=copy)]

    assert [one.returncode for one in done] == [0, 0]
    assert run(own_database, MARKS) == [(ALL + 2, ALL + 2)]


@pytest.mark.parametrize("directive", ["", "-- transactional: false\n"])
def test_a_file_of_comments_alone_is_applied(directive: str, copy: Path, own_database: str) -> None:
    """A migration may do nothing, as a file may in psql."""
    (copy / "sql/migrations/9003.do-nothing.sql").write_text(f"{directive}/* later; */\n;")

    assert migrate(own_database, copy).returncode == 0
    assert run(own_database, MARKS) == [(ALL + 1, ALL + 1)]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT ';', 'it''s; \\', E'\\';', \";\", $$;$$, $a$ $$;$$ $a$, $é1$;$é1$, a$b, 1",
        r"SELECT E'it''s \'; one', E'\''';', e'', date'\', ';'",
        "SELECT a$b$, 'a$b$;', '', ';'",
        "DO $$ BEGIN PERFORM 1; -- it's\nEND $$",
        "BEGIN  ATOMIC SELECT a.case, a$case, acase, cases, a.end, a$end, aend, ends; END",
        "SELECT 1 AS end",
    ],
)
def test_a_semicolon_in_quotes_separates_nothing(statement: str) -> None:
    """Strings, names, dollar quotes and bodies stay whole."""
    found = statements(f"-- ;\n{statement}; /* it's; */ SELECT $$2$$")

    assert found == [(2, statement), (2 + statement.count("\n"), "SELECT $$2$$")]
