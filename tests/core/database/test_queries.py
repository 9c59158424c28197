"""SQL files, and the Query of each."""

import asyncio
import dataclasses
import importlib
import pkgutil
import re
from collections import Counter
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NewType
from unittest.mock import Mock

import asyncpg
import msgspec
import pytest
from prometheus_client import REGISTRY

import groundwork
from groundwork.core.config import Settings
from groundwork.core.database import Connection, Connector, Pool, UnavailableError, queries
from groundwork.core.database.connections import SQL_DIR
from groundwork.core.database.migration_files import FOLDER
from groundwork.core.database.queries import Query
from groundwork.core.structs import DateTime, is_json
from tests.core.database.columns import differences

FILES = {
    path.relative_to(SQL_DIR).with_suffix("").as_posix(): path
    for path in sorted(SQL_DIR.rglob("*.sql"))
    if path.parent != FOLDER
}
MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(groundwork.__path__, "groundwork.")
    if not module.name.endswith("__main__")
]
QUERIES = {
    id(one): one for module in MODULES for one in vars(module).values() if isinstance(one, Query)
}.values()


BoxId = NewType("BoxId", int)
Later = Annotated[DateTime, msgspec.Meta(description="When.")]


class Row(msgspec.Struct):
    """A row."""

    name: str
    size: int | None
    data: dict[str, int] | None


class Circle(msgspec.Struct, tag=True):
    """One of several values in jsonb."""

    r: int


class Square(msgspec.Struct, tag=True):
    """Another one."""

    a: int


class Data(msgspec.Struct):
    """A value in jsonb."""

    a: int | msgspec.UnsetType = msgspec.UNSET
    b: int | msgspec.UnsetType = msgspec.UNSET


@pytest.fixture
def sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of SQL files."""
    monkeypatch.setattr(queries, "SQL_DIR", tmp_path)
    (tmp_path / "box").mkdir()
    return tmp_path / "box"


@pytest.fixture
async def box(connection: Connection) -> None:
    """Create a table, an enum, a materialized view, two domains and a partitioned table."""
    columns = 'name text NOT NULL, size int, data jsonb, "end" int'
    await connection.execute(f"CREATE TABLE box ({columns})")
    await connection.execute("INSERT INTO box VALUES ('a', 1, '{\"a\": 1}'), ('b', NULL, NULL)")
    await connection.execute("CREATE TYPE mark AS ENUM ('open', 'done')")
    await connection.execute("CREATE MATERIALIZED VIEW marks AS SELECT 'open'::mark AS mark")
    await connection.execute("CREATE DOMAIN weight AS numeric")
    await connection.execute("CREATE DOMAIN code AS text NOT NULL")
    await connection.execute("CREATE TABLE tags (code code, label text)")
    parts = "(name text NOT NULL, size int, weight weight) PARTITION BY LIST (name)"
    await connection.execute(f"CREATE TABLE piece {parts}")
    for name in "ab":
        part = f"piece_{name} PARTITION OF piece FOR VALUES IN ('{name}')"
        await connection.execute(f"CREATE TABLE {part}")


def changes_session(text: str) -> bool:
    """Return whether a statement leaves its session changed."""
    statement = re.sub("--.*", "", text).strip()
    begin = r"\A(re)?set\s+(?!local|constraints|transaction)|\A(discard|listen|declare|prepare)\b"
    kept = r"set_config\((?![^()]*,\s*true\s*\))|pg_(try_)?advisory_(lock|unlock)"
    within = rf"{kept}|\b(create|(?<!insert )into)\s+((local|global)\s+)?temp(orary)?\s"
    return bool(re.search(f"{begin}|{within}", statement, re.IGNORECASE))


def returns_all(text: str) -> bool:
    """Return whether a statement ends with RETURNING *, or RETURNING b.*."""
    return bool(re.search(r"(?is)\breturning\s(.*,)?\s*(\w+\.)?\*", re.sub("--.*", "", text)))


def test_every_file_belongs_to_one_query() -> None:
    """Each file of sql/ but the migrations is one Query's, and each Query has a file."""
    names = Counter(one.name for one in QUERIES)

    assert names == dict.fromkeys(FILES, 1)


@pytest.mark.parametrize(
    "query", {one.name: one for one in QUERIES}.values(), ids=lambda query: query.name
)
async def test_every_query_fits_the_database(
    connection: Connection, query: Query[Any, *tuple[Any, ...]]
) -> None:
    """Columns and parameters have the names and types that the Query says."""
    found = await differences(query, connection)

    assert not found, f"sql/{query.name}.sql {'; '.join(found)}"


@pytest.mark.parametrize("path", FILES.values(), ids=FILES)
def test_every_file_says_what_it_does(path: Path) -> None:
    """A file begins with a comment."""
    assert path.read_text("utf-8").startswith("-- ")


@pytest.mark.parametrize("path", FILES.values(), ids=FILES)
def test_every_file_names_its_columns(path: Path) -> None:
    """The next release may add one, while this one still runs; sqlfluff finds SELECT *."""
    assert returns_all(path.read_text("utf-8")) is False


def test_returning_all_is_found() -> None:
    """A star is no product, no count and no comment."""
    alike = (
        "INSERT INTO box (name) VALUES ($1) RETURNING *",
        "UPDATE box AS b SET size = 1\nRETURNING b.name,\n    b.*",
        "-- Has no RETURNING *.\nUPDATE box SET size = 1 RETURNING name, size * 2 AS twice",
        "DELETE FROM box RETURNING (SELECT count(*) FROM box) AS boxes",
    )

    assert [returns_all(text) for text in alike] == [True, True, False, False]


@pytest.mark.parametrize("path", FILES.values(), ids=FILES)
def test_no_query_changes_its_session(path: Path) -> None:
    """Connections return to the pool as they are, and to any client behind PgBouncer."""
    assert changes_session(path.read_text("utf-8")) is False


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("-- Sets the path.\nSET search_path = public", True),
        ("-- Takes a lock.\nSELECT pg_advisory_lock($1)", True),
        ("-- Lists what to prepare.\nSELECT 1", False),
        ("-- Checks at the end.\nSET CONSTRAINTS ALL DEFERRED", False),
        ("-- Waits a moment.\nSET LOCAL lock_timeout = '1s'", False),
        ("-- Sets whose rows are seen.\nSELECT set_config('app.id', $1, true)", False),
        ("-- Sets whose rows are seen.\nSELECT set_config('app.id', $1, false)", True),
        ("-- Renames a box.\nUPDATE box\nSET name = $1", False),
        ("-- Lists what is hot.\nWITH temp AS (SELECT 1 AS listen) SELECT listen FROM temp", False),
        ("-- Copies boxes.\nCREATE LOCAL TEMPORARY TABLE copy AS SELECT name FROM box", True),
        ("-- Copies boxes.\nSELECT name INTO TEMP copy FROM box", True),
        ("-- Measures.\nINSERT INTO temp (degrees) VALUES ($1)", False),
        ("-- Listens.\nLISTEN boxes", True),
    ],
)
def test_a_changed_session_is_found(text: str, changes: bool) -> None:  # noqa: FBT001
    """What outlives the transaction is found in the statement, not in its comments."""
    assert changes_session(text) is changes


@pytest.mark.usefixtures("box")
@pytest.mark.parametrize(
    ("text", "query", "difference"),
    [
        ("SELECT name, size, data FROM box", Query[Row]("box/x"), []),
        (
            "SELECT name, size AS width, data FROM box",
            Query[Row]("box/x"),
            ["returns name, width, data; Row has name, size, data"],
        ),
        (
            "SELECT name, size::text, data FROM box",
            Query[Row]("box/x"),
            ["size is text; Row has int | None"],
        ),
        (
            "SELECT lower(name), size, name AS data FROM box",
            Query[Row]("box/x"),
            ["returns lower, size, data; Row has name, size, data"],
        ),
        (
            "SELECT b.name, b.size, b.data, c.size FROM box AS b JOIN box AS c USING (name)",
            Query[Row]("box/x"),
            ["returns name, size, data, size: give each column a name of its own"],
        ),
        ("SELECT size FROM box", Query[int]("box/x"), ["size may be NULL; the Query has int"]),
        ("SELECT coalesce(size, 0) AS size FROM box", Query[int]("box/x"), []),
        (
            "SELECT b.size FROM box AS b, box AS c",
            Query[int]("box/x"),
            ["size may be NULL; the Query has int"],
        ),
        (
            "SELECT c.name FROM box AS b LEFT JOIN box AS c ON c.size = b.size",
            Query[str]("box/x"),
            ["name may be NULL; the Query has str"],
        ),
        ("SELECT b.name FROM box AS b LEFT JOIN box AS c USING (size)", Query[str]("box/x"), []),
        (
            "SELECT c.name FROM box AS b RIGHT JOIN box AS c USING (size) WHERE b.name > ''",
            Query[str]("box/x"),
            [],
        ),
        (
            "SELECT b.name FROM box AS b FULL JOIN box AS c USING (size)",
            Query[str]("box/x"),
            ["name may be NULL; the Query has str"],
        ),
        ("SELECT name FROM box ORDER BY size", Query[str]("box/x"), []),
        (
            "SELECT size FROM box FOR UPDATE",
            Query[int]("box/x"),
            ["size may be NULL; the Query has int"],
        ),
        (
            "SELECT b.name FROM box AS b UNION ALL SELECT c.data::text FROM box AS c",
            Query[str]("box/x"),
            [],
        ),
        (
            "SELECT name FROM box UNION SELECT mark::text FROM marks",
            Query[str]("box/x"),
            [],
        ),
        (
            "SELECT name FROM box UNION SELECT label FROM tags ORDER BY 1 LIMIT 2",
            Query[str]("box/x"),
            ["name may be NULL; the Query has str"],
        ),
        (
            (
                "SELECT c.name FROM (SELECT name FROM box UNION SELECT label FROM tags) AS c"
                " JOIN box AS b ON b.size = length(c.name)"
            ),
            Query[str]("box/x"),
            ["name may be NULL; the Query has str"],
        ),
        (
            "SELECT name FROM box GROUP BY ROLLUP (name)",
            Query[str]("box/x"),
            ["name may be NULL; the Query has str"],
        ),
        ("SELECT code FROM tags", Query[str]("box/x"), []),
        (
            "SELECT 1 AS size UNION ALL SELECT size FROM box",
            Query[int]("box/x"),
            ["size may be NULL; the Query has int"],
        ),
        (
            (
                "WITH RECURSIVE c AS (SELECT name, size FROM box"
                " UNION SELECT b.name, b.size FROM box AS b JOIN c ON c.size < b.size)"
                " SELECT size FROM c ORDER BY name"
            ),
            Query[int]("box/x"),
            ["size may be NULL; the Query has int"],
        ),
        (
            "WITH c AS (DELETE FROM box RETURNING name, size) SELECT name FROM c",
            Query[str]("box/x"),
            [],
        ),
        (
            (
                "WITH c AS MATERIALIZED (SELECT name FROM box)"
                " SELECT c.name FROM box AS b LEFT JOIN c ON c.name = b.data::text"
            ),
            Query[str]("box/x"),
            ["name may be NULL; the Query has str"],
        ),
        (
            (
                "WITH c AS MATERIALIZED (SELECT a.name, b.name AS other FROM box AS a"
                " LEFT JOIN box AS b ON b.size < a.size) SELECT name FROM c ORDER BY other"
            ),
            Query[str]("box/x"),
            [],
        ),
        (
            "SELECT size FROM (SELECT size, row_number() OVER () AS n FROM box) AS c WHERE n < 3",
            Query[int]("box/x"),
            ["size may be NULL; the Query has int"],
        ),
        (
            "SELECT p.size FROM piece AS p ORDER BY p.name",
            Query[int]("box/x"),
            ["size may be NULL; the Query has int"],
        ),
        ("SELECT name FROM piece ORDER BY size", Query[str]("box/x"), []),
        (
            "SELECT size FROM piece WHERE name = $1",
            Query[int, str]("box/x"),
            ["size may be NULL; the Query has int"],
        ),
        ("SELECT count(*) FROM piece", Query[int]("box/x"), []),
        ("SELECT array_agg(weight) FROM piece", Query[list[Decimal]]("box/x"), []),
        (
            "SELECT $1::weight[] IS NULL",
            Query[bool, list[str]]("box/x"),
            ["$1 is numeric[]; the Query has list[str]"],
        ),
        ('SELECT "end" FROM box', Query[int]("box/x"), ["end may be NULL; the Query has int"]),
        ("SELECT name FROM box", Query[Literal["a", "b"]]("box/x"), []),
        (
            "SELECT 1 AS size",
            Query[Literal["a"]]("box/x"),
            ["size is int4; the Query has typing.Literal['a']"],
        ),
        (
            "SELECT '::1'::inet AS address",
            Query[str]("box/x"),
            ["address is inet; the Query has str"],
        ),
        (
            "SELECT tstzrange(NULL, NULL) AS during",
            Query[str]("box/x"),
            ["during is tstzrange; the Query has str"],
        ),
        (
            "SELECT array_agg(data) FROM box",
            Query[list[dict[str, int]]]("box/x"),
            ["array_agg is jsonb[]; the Query has list[dict[str, int]]"],
        ),
        (
            "SELECT $1::jsonb AS data",
            Query[Any, Any]("box/x"),
            ["data is jsonb; the Query has Any", "$1 is jsonb; the Query has Any"],
        ),
        ("SELECT colour FROM box", Query[str]("box/x"), ['column "colour" does not exist']),
        ("SELECT array_agg(name) FROM box", Query[list[str]]("box/x"), []),
        (
            "SELECT array_agg(size) FROM box",
            Query[list[str]]("box/x"),
            ["array_agg is int4[]; the Query has list[str]"],
        ),
        (
            "SELECT m AS row FROM marks AS m",
            Query[str]("box/x"),
            ["row is marks; the Query has str"],
        ),
        (
            "SELECT '{}'::datemultirange AS days",
            Query[str]("box/x"),
            ["days is datemultirange; the Query has str"],
        ),
        ("SELECT mark FROM marks", Query[Literal["open", "done"]]("box/x"), []),
        (
            "SELECT mark FROM marks",
            Query[Literal["open"]]("box/x"),
            ["mark is mark of done, open; the Query has typing.Literal['open']"],
        ),
        ("SELECT $1::mark[] IS NULL", Query[bool, list[Literal["open"]]]("box/x"), []),
        (
            "SELECT $1::mark IS NULL",
            Query[bool, Literal["shut"]]("box/x"),
            ["$1 is mark of done, open; the Query has typing.Literal['shut']"],
        ),
        ("SELECT $1::int AS size", Query[BoxId, BoxId]("box/x"), []),
        (
            "SELECT $1::text IS NULL",
            Query[bool, list[BoxId]]("box/x"),
            ["$1 is text; the Query has list[tests.core.database.test_queries.BoxId]"],
        ),
        ("SELECT now() AS at", Query[DateTime]("box/x"), []),
        (
            "SELECT now() AS at",
            Query[datetime]("box/x"),
            ["at is timestamptz; the Query has datetime"],
        ),
        ("SELECT localtimestamp AS at", Query[datetime]("box/x"), []),
        (
            "SELECT $1::timestamp IS NULL",
            Query[bool, DateTime]("box/x"),
            ["$1 is timestamp; the Query has DateTime"],
        ),
        ("SELECT $1::timestamptz[] IS NULL", Query[bool, list[Later] | None]("box/x"), []),
        ("DELETE FROM box WHERE name = $1", Query[None, str]("box/x"), []),
        (
            "DELETE FROM box WHERE size = $1",
            Query[None, str]("box/x"),
            ["$1 is int4; the Query has str"],
        ),
        (
            "DELETE FROM box WHERE size = $1",
            Query[None]("box/x"),
            ["takes 1 parameters; the Query has 0"],
        ),
        (
            "DELETE FROM box RETURNING name",
            Query[None]("box/x"),
            ["name is text; the Query has NoneType"],
        ),
        ("SELECT xmin FROM box", Query[int]("box/x"), []),
        ("SELECT pg_notify('boxes', $1)", Query[None, str]("box/x"), []),
        (
            "SELECT pg_notify('boxes', $1)",
            Query[str, str]("box/x"),
            ["pg_notify is void; the Query has str"],
        ),
        ("DELETE FROM box", Query[int]("box/x"), ["returns nothing; the Query has one column"]),
        (
            "SELECT name, size FROM box",
            Query[str]("box/x"),
            ["returns name, size; the Query has one column"],
        ),
    ],
)
async def test_a_difference_is_found(
    connection: Connection,
    sql: Path,
    text: str,
    query: Query[Any, *tuple[Any, ...]],
    difference: list[str],
) -> None:
    """Another name, type, NULL or number of parameters is named."""
    (sql / "x.sql").write_text(text)
    assert await differences(query, connection) == difference


@pytest.mark.usefixtures("box")
async def test_rows_are_structs(connection: Connection, sql: Path) -> None:
    """A row is a Struct; json in it is decoded, NULL is None."""
    (sql / "list.sql").write_text("SELECT name, size, data FROM box WHERE name >= $1 ORDER BY name")
    query = Query[Row, str]("box/list")

    assert await query.all(connection, "") == [Row("a", 1, {"a": 1}), Row("b", None, None)]
    assert await query.first(connection, "b") == Row("b", None, None)
    assert await query.first(connection, "c") is None


async def test_a_file_may_have_a_byte_order_mark(connection: Connection, sql: Path) -> None:
    """Editors on Windows write one, and psql skips it."""
    (sql / "one.sql").write_text("SELECT 1", "utf-8-sig")

    assert await Query[int]("box/one").one(connection) == 1


@pytest.mark.usefixtures("box")
async def test_a_single_column_is_its_value(connection: Connection, sql: Path) -> None:
    """A Query of a plain type has the value of its only column."""
    (sql / "sizes.sql").write_text("SELECT size FROM box ORDER BY name")
    (sql / "data.sql").write_text("SELECT data FROM box ORDER BY name")
    (sql / "all.sql").write_text(
        "SELECT json_agg(b ORDER BY name) FROM (SELECT name FROM box) AS b"
    )

    assert await Query[int | None]("box/sizes").all(connection) == [1, None]
    assert await Query[dict[str, int] | None]("box/data").all(connection) == [{"a": 1}, None]
    assert await Query[list[dict[str, str]]]("box/all").one(connection) == [
        {"name": "a"},
        {"name": "b"},
    ]


async def test_a_number_keeps_its_digits(connection: Connection, sql: Path) -> None:
    """The driver reads 10000 as 1E+4, which is the same number, but not the same JSON."""
    (sql / "x.sql").write_text("SELECT unnest('{10000,-1000000.0,0.00,NaN,NULL}'::numeric[]) AS x")

    found = await Query[Decimal | None]("box/x").all(connection)

    assert [*map(str, found)] == ["10000", "-1000000.0", "0.00", "NaN", "None"]


@pytest.mark.usefixtures("box")
async def test_a_struct_is_json(connection: Connection, sql: Path) -> None:
    """A Struct is written as json, without the fields that are UNSET, and None as NULL."""
    (sql / "update.sql").write_text("UPDATE box SET data = $2 WHERE name = $1 RETURNING data")
    query = Query[dict[str, int] | None, str, Data | None]("box/update")

    assert await query.one(connection, "a", Data(b=2)) == {"b": 2}
    assert await query.first(connection, "a", None) is None
    assert await connection.fetchval("SELECT data IS NULL FROM box WHERE name = 'a'")


@pytest.mark.usefixtures("box")
async def test_json_stays_as_it_is(connection: Connection, sql: Path) -> None:
    """A column that may be NULL may be msgspec.Raw, which is not parsed."""
    (sql / "list.sql").write_text("SELECT data FROM box ORDER BY name")

    found = await Query[msgspec.Raw | None]("box/list").all(connection)

    assert msgspec.json.encode(found) == b'[{"a": 1},null]'


@pytest.mark.usefixtures("box")
@pytest.mark.parametrize("shape", [Circle(1), Square(2), None])
async def test_a_union_is_json(connection: Connection, sql: Path, shape: Circle | Square) -> None:
    """A column may hold one of several Structs, which their tags distinguish."""
    (sql / "update.sql").write_text("UPDATE box SET data = $2 WHERE name = $1 RETURNING data")
    query = Query[Circle | Square | None, str, Circle | Square | None]("box/update")

    assert await differences(query, connection) == []
    assert await query.one(connection, "a", shape) == shape


@pytest.mark.parametrize(
    ("kind", "expected"), [(Annotated[Circle, "round"] | Square, True), (Circle | str, False)]
)
def test_a_union_is_json_where_all_of_it_is(kind: object, *, expected: bool) -> None:
    """A Struct may be annotated there; beside a str it is none."""
    assert is_json(kind) is expected


@pytest.mark.usefixtures("box")
async def test_one_row_is_expected(connection: Connection, sql: Path) -> None:
    """Where a statement must return a row and does not, an error names its file."""
    (sql / "get.sql").write_text("SELECT name, size, data FROM box WHERE name = $1")

    with pytest.raises(LookupError, match=r"sql/box/get\.sql returned no row"):
        await Query[Row, str]("box/get").one(connection, "c")


@pytest.mark.usefixtures("box")
async def test_null_is_a_row(connection: Connection, sql: Path) -> None:
    """An aggregate of no rows returns one row, whose value is NULL."""
    (sql / "widest.sql").write_text("SELECT max(size) FROM box WHERE size > 1")

    assert await Query[int | None]("box/widest").one(connection) is None


@pytest.mark.usefixtures("box")
@pytest.mark.parametrize("text", ["LOCK TABLE box", "SET CONSTRAINTS ALL DEFERRED"])
async def test_a_command_changes_no_rows(connection: Connection, sql: Path, text: str) -> None:
    """A statement that belongs to a transaction, and has no rows to count, counts none."""
    (sql / "lock.sql").write_text(text)

    assert await Query[None]("box/lock").execute(connection) == 0


@pytest.mark.usefixtures("box")
async def test_changed_rows_are_counted(connection: Connection, sql: Path) -> None:
    """Without rows to return, the result is how many the statement has changed."""
    (sql / "delete.sql").write_text("DELETE FROM box WHERE name >= $1")
    query = Query[None, str]("box/delete")

    assert [await query.execute(connection, "b"), await query.execute(connection, "b")] == [1, 0]


@pytest.mark.usefixtures("box")
async def test_a_statement_is_timed(connection: Connection, sql: Path) -> None:
    """Each statement is observed in a histogram, under the name of its file."""
    (sql / "timed.sql").write_text("SELECT name, size, data FROM box")
    labels = {"db_system_name": "postgresql", "db_query_summary": "box/timed"}

    await Query[Row]("box/timed").all(connection)

    name = "db_client_operation_duration_seconds_count"
    assert REGISTRY.get_sample_value(name, labels) == 1


@pytest.mark.usefixtures("box")
@pytest.mark.parametrize("seconds", [0, 60])
async def test_queries_are_logged(
    connection: Connection,
    sql: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
) -> None:
    """A query over SLOW_QUERY_SECONDS is a warning; at DEBUG every query is logged."""
    (sql / "list.sql").write_text("SELECT name, size, data FROM box")
    monkeypatch.setattr(Query, "slow_seconds", seconds)
    for level in ("INFO", "DEBUG"):
        caplog.set_level(level, queries.__name__)
        await Query[Row]("box/list").all(connection)
        await Query[Row]("box/list").first(connection)

    logged = [one for one in caplog.records if one.name == queries.__name__]
    assert all(0 < vars(one)["duration_ms"] < 10_000 for one in logged)
    found = [(one.levelname, one.getMessage(), vars(one)["rows"]) for one in logged]
    line = ("DEBUG", "query box/list") if seconds else ("WARNING", "slow query box/list")
    assert found == [(*line, 2), (*line, 1)] * (1 if seconds else 2)


async def test_a_wait_for_a_connection_makes_no_query_slow(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its duration is that of the statement; the wait has a metric of its own."""

    async def connect_slowly() -> Connection:
        await asyncio.sleep(0.6)
        return await Connector(settings)()

    monkeypatch.setattr(Query, "slow_seconds", 0.5)
    vars(query := Query[int]("x"))["text"] = "SELECT 1"
    pool = Pool(connect_slowly, 1, 5)
    found = await query.one(pool)
    await pool.close()

    assert (found, caplog.messages) == (1, [])


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("-- é\nSELECT 1,\n    titel FROM pg_class", "in sql/box/x.sql:3:5"),
        ("-- é\nSELECT 1 / 0", "in sql/box/x.sql"),
    ],
)
async def test_an_error_has_its_place(
    connection: Connection, sql: Path, text: str, place: str
) -> None:
    """An error names the file, and the line and column that PostgreSQL points at."""
    (sql / "x.sql").write_text(text)

    with pytest.raises(asyncpg.PostgresError) as raised:
        await Query[int]("box/x").all(connection)

    assert raised.value.__notes__ == [place]


@pytest.mark.parametrize("given", [(2**40,), ()])
async def test_a_wrong_parameter_has_its_file(
    connection: Connection, sql: Path, given: tuple[int]
) -> None:
    """A value that asyncpg cannot convert names the file too, and so does one that is missing."""
    (sql / "x.sql").write_text("SELECT $1::int4")

    with pytest.raises(
        (asyncpg.DataError, asyncpg.InterfaceError), match=r"int32|expects 1"
    ) as raised:
        await Query[int, int]("box/x").all(connection, *given)

    assert raised.value.__notes__ == ["in sql/box/x.sql"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("""SELECT '[{"a": "b"}]'::jsonb""", list[Data]),
        ("SELECT timestamptz '9999-12-31 23:00-08'", datetime),
    ],
)
async def test_a_row_that_does_not_fit_has_its_file(
    connection: Connection, sql: Path, text: str, kind: type
) -> None:
    """A value that Python or the Struct of its column cannot hold names the file too."""
    (sql / "x.sql").write_text(text)
    with pytest.raises((msgspec.ValidationError, OverflowError)) as raised:
        await Query[kind]("box/x").all(connection)  # type: ignore[valid-type]

    assert raised.value.__notes__ == ["in sql/box/x.sql"]


async def test_a_statement_that_times_out_closes_its_connection(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a transaction would wait for the server as well."""
    monkeypatch.setattr(queries, "abandon", abandon := Mock())
    connection = await Connector(dataclasses.replace(settings, db_command_timeout=0.05))()
    query = Query[None, float]("x")
    vars(query)["text"] = "SELECT pg_sleep($1)"
    with pytest.raises(TimeoutError):
        await query.execute(connection, 5.0)
    connection.terminate()
    abandon.assert_called_once_with(connection)

    pool = Pool(Connector(dataclasses.replace(settings, db_command_timeout=0.05)), 1, 5)
    with pytest.raises(UnavailableError):
        await query.execute(pool, 5.0)
    await pool.close()
