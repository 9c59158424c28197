"""Databases of earlier releases, brought up to this one with what is in them.

A release adds its own: pg_dump --inserts --no-owner --no-privileges --restrict-key=groundwork
"""

from pathlib import Path
from typing import Any

import pytest

from groundwork.core.database.migration_files import migration_ids
from tests.databases import migrate, run, schema

RELEASES = sorted(Path(__file__).parent.glob("release-*.sql"))
TABLES = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
    AND relkind IN ('r', 'p') AND NOT relispartition
    AND relname NOT IN ('_groundwork_migration', '_yoyo_log', '_yoyo_migration', '_yoyo_version',
    'yoyo_lock')
"""
# What puts a row into each table: a new table wants a line here, after those that it refers to. It
# runs after each migration from the table's own on: where a later one adds a column that it must
# give, DO with EXCEPTION WHEN undefined_column has both statements.
ROWS = {
    "installation": "UPDATE installation SET created_at = '2001-02-03 04:05:06Z'",
}


def tables(url: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each table."""
    return {
        name: [row for (row,) in run(url, f"SELECT to_jsonb(t) FROM {name} AS t")]
        for (name,) in run(url, TABLES)
    }


def fill(url: str) -> None:
    """Put a row into each table, in the order of ROWS."""
    names = {name for (name,) in run(url, TABLES)}
    assert names <= ROWS.keys(), "give each table a row, to see that later migrations keep it"
    for name in filter(names.__contains__, ROWS):
        run(url, ROWS[name])
    assert all(tables(url).values()), "a statement of ROWS has put no row into its table"


def lost(before: dict[str, list[dict[str, Any]]], url: str) -> list[dict[str, Any]]:
    """Return the rows that are not there any more, by the values of the columns that are."""
    after = tables(url)
    return [
        row
        for name in before.keys() & after.keys()
        for row in before[name]
        if not any(
            all(value in (None, kept.get(column, value)) for column, value in row.items())
            for kept in after[name]
        )
    ]


@pytest.mark.parametrize(
    ("change", "is_lost"),
    [
        ("UPDATE box SET size = 1", False),
        ("ALTER TABLE box DROP name", False),
        ("DROP TABLE box", False),
        ("UPDATE box SET name = 'b'", True),
        ("DELETE FROM box", True),
    ],
)
def test_a_lost_row_is_found(empty_database: str, change: str, is_lost: bool) -> None:  # noqa: FBT001
    """A migration may fill a column and drop one, but neither change a value nor delete a row."""
    columns = "(id int, name text, size int)"
    run(empty_database, f"CREATE TABLE box {columns}; INSERT INTO box VALUES (1, 'a', NULL)")
    before = tables(empty_database)

    run(empty_database, change)

    assert lost(before, empty_database) == (before["box"] if is_lost else [])


def test_a_partitioned_table_is_one_table(empty_database: str) -> None:
    """Its rows are those of its partitions, which are not listed themselves."""
    run(empty_database, "CREATE TABLE box (id int) PARTITION BY LIST (id)")
    run(empty_database, "CREATE TABLE box_1 PARTITION OF box FOR VALUES IN (1)")
    run(empty_database, "INSERT INTO box VALUES (1)")

    assert tables(empty_database) == {"box": [{"id": 1}]}


def test_a_row_may_refer_to_another(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are put in as ROWS has them, whatever the order of the tables in the database."""
    run(empty_database, "CREATE TABLE note (id int)")
    run(empty_database, "CREATE TABLE box (id int PRIMARY KEY)")
    run(empty_database, "ALTER TABLE note ADD FOREIGN KEY (id) REFERENCES box")
    rows = {name: f"INSERT INTO {name} VALUES (1)" for name in ("box", "note")}
    monkeypatch.setattr("tests.core.database.test_upgrade.ROWS", rows)

    fill(empty_database)

    assert tables(empty_database) == {"box": [{"id": 1}], "note": [{"id": 1}]}


@pytest.mark.parametrize("count", range(1, len(migration_ids()) + 1))
def test_from_each_migration_on(
    count: int, copy: Path, empty_database: str, own_database: str
) -> None:
    """From wherever a database is, it gets to the schema of a new one and loses no row."""
    for name in migration_ids()[count:]:
        (copy / f"sql/migrations/{name}.sql").unlink()
    migrate(empty_database, copy).check_returncode()
    fill(empty_database)
    before = tables(empty_database)

    assert migrate(empty_database).returncode == 0
    assert schema(empty_database) == schema(own_database)
    assert lost(before, empty_database) == []


@pytest.mark.parametrize("dump", RELEASES, ids=lambda path: path.stem)
def test_from_each_release(dump: Path, empty_database: str, own_database: str) -> None:
    """What a release has left on somebody's server is upgraded, with every row in it."""
    lines = dump.read_text().splitlines()
    run(empty_database, "\n".join(line for line in lines if not line.startswith("\\")))
    before = tables(empty_database)

    assert migrate(empty_database).returncode == 0
    assert all(before.values())
    assert schema(empty_database) == schema(own_database)
    assert lost(before, empty_database) == []
