"""During a rolling update the previous release runs on the newest schema: its SQL must still fit.

A release adds its dump (see test_upgrade.py) and, in a folder of the same name, its sql/ without
the migrations. A change that breaks it takes two releases; docs/development.md says how.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.databases import CHECKOUT, migrate, run


def newest(dumps: Iterable[Path]) -> Path:
    """Return the dump of the newest release."""
    return max(dumps, key=lambda path: [*map(int, re.findall(r"\d+", path.name))])


DUMP = newest(Path(__file__).parent.glob("release-*.sql"))
FILES = sorted(DUMP.with_suffix("").rglob("*.sql"))
# What an INSERT of the previous release may leave out, and must not any more.
REQUIRED = """
    SELECT 'table ' || relname, 'requires ' || coalesce(string_agg(attname, ' ' ORDER BY attname)
        FILTER (WHERE attnotnull AND NOT atthasdef AND attidentity = ''), 'nothing')
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
    GROUP BY relname
"""


def restore(url: str) -> None:
    """Restore what the previous release has left on a server."""
    lines = DUMP.read_text().splitlines()
    run(url, "\n".join(line for line in lines if not line.startswith("\\")))


async def describe(url: str) -> dict[str, str]:
    """Return the columns that each table requires, and the types in the previous files."""
    found = dict(run(url, REQUIRED))
    connection = await asyncpg.connect(url)
    for path in FILES:
        name = f"{path.parent.name}/{path.name}"
        try:
            prepared = await connection.prepare(path.read_text())
        except asyncpg.PostgresError as error:
            found[name] = str(error)
            continue
        found[name] = "valid"
        for column in prepared.get_attributes():
            found[f"{name}: {column.name}"] = column.type.name
        for number, parameter in enumerate(prepared.get_parameters(), 1):
            found[f"{name}: ${number}"] = parameter.name
    await connection.close()
    return found


async def differences(url: str, folder: Path) -> Iterator[str]:
    """Migrate a database of the previous release, and return what is different for its files."""
    restore(url)
    before = await describe(url)
    migrate(url, folder).check_returncode()
    after = await describe(url)
    return (
        f"{name} was {before.get(name)}, is {after.get(name)}"
        for name in before | after
        if before.get(name) != after.get(name) and (name in before or not name.startswith("table "))
    )


def test_the_previous_release_is_the_newest() -> None:
    """Release 0.10.0 is newer than 0.9.0."""
    dumps = [Path(f"release-{version}.sql") for version in ("0.2.1", "0.10.0", "0.9.0")]

    assert newest(dumps) == dumps[1]


async def test_the_previous_release_runs_on_the_newest_schema(empty_database: str) -> None:
    """Its SQL files have the same columns, types and parameters as on its own schema."""
    assert FILES
    assert "\n".join(await differences(empty_database, CHECKOUT)) == ""


@pytest.mark.parametrize(
    ("sql", "difference"),
    [
        ("DROP COLUMN created_at", 'health/installation.sql was valid, is column "created_at"'),
        ("RENAME COLUMN id TO key", 'health/installation.sql was valid, is column "id" does'),
        ("ALTER id TYPE text", "health/installation.sql: id was uuid, is text"),
        ("RENAME TO install", 'health/installation.sql was valid, is relation "installation"'),
        ("SET SCHEMA old", 'health/installation.sql was valid, is relation "installation"'),
        (
            "ALTER created_at DROP DEFAULT",
            "table installation was requires nothing, is requires created_at",
        ),
        ("ADD kind text NOT NULL DEFAULT ''; CREATE TABLE new (id int NOT NULL)", ""),
    ],
)
async def test_a_migration_that_breaks_it_is_named(
    sql: str, difference: str, copy: Path, empty_database: str
) -> None:
    """The difference names the file and the column, and an addition is none."""
    statement = f"CREATE SCHEMA old; ALTER TABLE installation {sql};"
    (copy / "sql/migrations/9003.change-installation.sql").write_text(statement)

    found = "\n".join(await differences(empty_database, copy))

    assert bool(found) == bool(difference)
    assert difference in found
