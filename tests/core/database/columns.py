"""A Query compared with the database: what PostgreSQL says of its columns and parameters."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from operator import eq, le
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin
from uuid import UUID

import asyncpg
import msgspec

from groundwork.core.database import Connection
from groundwork.core.database.queries import Query
from groundwork.core.structs import DateTime, bare_type, is_json

# As asyncpg converts them. Whatever else there is, enums for one, is text.
TYPES = {
    **dict.fromkeys(("int2", "int4", "int8", "oid", "xid", "xid8"), int),
    **dict.fromkeys(("float4", "float8"), float),
    **dict.fromkeys(("time", "timetz"), time),
    **dict.fromkeys(("timestamp", "timestamptz"), datetime),
    "bool": bool,
    "bytea": bytes,
    "date": date,
    "interval": timedelta,
    "numeric": Decimal,
    "uuid": UUID,
    "void": NoneType,
}
# What asyncpg makes objects of its own of, beside ranges and composite types: such a column is cast
# to text.
OBJECTS = re.compile(r"inet|cidr|(var)?bit|char|record|point|lseg|path|box|polygon|line|circle")
# Ranges, and composite types such as the row of a table, have no labels.
LABELS = """
    SELECT typname, array(SELECT enumlabel FROM pg_enum WHERE enumtypid = t.oid)
    FROM pg_type AS t WHERE typtype IN ('c', 'e', 'm', 'r')
"""
# PostgreSQL describes a domain as its base type, and an array of a domain as that.
DOMAINS = """
    SELECT d.typname, b.typname FROM pg_type AS d JOIN pg_type AS b ON b.oid = d.typbasetype
"""
# Parameters are unknown in a generic plan, so PostgreSQL does not compute with their NULLs.
EXPLAIN = "EXPLAIN (VERBOSE, FORMAT JSON) EXECUTE checked"
NULLABLE = """
    SELECT 1 FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
    JOIN pg_type AS t ON t.oid = a.atttypid AND NOT typnotnull
    WHERE c.oid = $1::regclass AND attname = $2 AND NOT attnotnull AND relkind <> 'm'
"""

# How a plan is part of another whose rows it does not add to.
APART = {"InitPlan", "SubPlan"}
# The side of a join that has NULLs where no row matches.
OPTIONAL = {("Left", "Inner"), ("Right", "Outer")}


async def differences(query: Query[Any, *tuple[Any, ...]], connection: Connection) -> list[str]:
    """Return how the types of a Query differ from its file's columns and parameters."""
    try:
        prepared = await connection.prepare(query.text)
    except asyncpg.PostgresError as error:
        return [str(error)]
    row, *given = query.types
    domains = dict(map(tuple, await connection.fetch(DOMAINS)))
    names = [one.name for one in prepared.get_attributes()]
    if len(names) > len({*names}):
        return [f"returns {', '.join(names)}: give each column a name of its own"]
    columns = {one.name: _base(one.type, domains) for one in prepared.get_attributes()}
    parameters = [_base(one, domains) for one in prepared.get_parameters()]
    labels = {name: set(found) for name, found in await connection.fetch(LABELS)}
    found = [*_columns(row, columns, labels), *_parameters(given, parameters, labels)]
    if found or row is NoneType:
        return found
    nullable = await _nullable(query.text, len(parameters), connection)
    fields = _fields(row, columns)
    return [
        f"{name} may be NULL; {_owner(row)} has {_name(fields[name])}"
        for name, is_nullable in zip(columns, nullable, strict=False)
        if is_nullable and NoneType not in get_args(fields[name])
    ]


def _columns(row: Any, columns: dict[str, str], labels: dict[str, set[str]]) -> Iterator[str]:
    fields = _fields(row, columns)
    if [*fields] != [*columns]:
        yield f"returns {', '.join(columns) or 'nothing'}; {_owner(row)} has {', '.join(fields)}"
        return
    for name, column in columns.items():
        if not _fits(fields[name], column, labels, eq):
            yield f"{name} is {_type(column, labels)}; {_owner(row)} has {_name(fields[name])}"


def _parameters(
    given: list[Any], parameters: list[str], labels: dict[str, set[str]]
) -> Iterator[str]:
    if len(given) != len(parameters):
        yield f"takes {len(parameters)} parameters; the Query has {len(given)}"
        return
    for number, (kind, parameter) in enumerate(zip(given, parameters, strict=True), 1):
        if not _fits(kind, parameter, labels, le):
            yield f"${number} is {_type(parameter, labels)}; the Query has {_name(kind)}"


async def _nullable(text: str, parameters: int, connection: Connection) -> list[bool]:
    """Return for each column whether it is one of a table's that may be NULL.

    Behind the columns come those that the plan adds for itself: for ORDER BY, for FOR UPDATE.
    """
    await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    await connection.execute("SET LOCAL enable_partition_pruning = off")  # no partition has NULL
    await connection.execute(f"PREPARE checked AS {text}")
    values = f"({', '.join(['NULL'] * parameters)})" if parameters else ""
    plan = json.loads(await connection.fetchval(EXPLAIN + values))[0]["Plan"]
    await connection.execute("DEALLOCATE checked")
    tables: dict[str, list[tuple[Any, bool]]] = {}
    for alias, table, is_optional in _tables(plan, dict(_common(plan))):
        tables.setdefault(alias, []).append((table, is_optional))
    return [
        any([await _may_be_null(output, tables, connection) for output in outputs])
        for outputs in zip(*_outputs(plan), strict=False)
    ]


async def _may_be_null(
    output: str, tables: dict[str, list[tuple[Any, bool]]], connection: Connection
) -> bool:
    alias, _, name = output.replace('"', "").rpartition(".")
    if not re.fullmatch(r"\w+", name):  # it is computed
        return False
    for table, is_optional in tables.get(alias or next(iter(tables), ""), ()):
        if is_optional:
            return True
        if isinstance(table, str):
            if await connection.fetchval(NULLABLE, table, name):
                return True
            continue
        columns = [*zip(*_outputs(table), strict=False)]
        named = [one for one in columns if one[0].rpartition(".")[2] == name]
        others = {**tables, alias: [one for one in tables.get(alias, ()) if one[0] is not table]}
        for inner in named[0] if len(named) == 1 else ():  # else an AS hides which it is
            if await _may_be_null(inner, others, connection):
                return True
    return False


def _outputs(plan: dict[str, Any]) -> Iterator[list[str]]:
    """Yield the columns of a plan, or those of each part of UNION, which has the first's names."""
    parts = [one for one in plan.get("Plans", ()) if one["Parent Relationship"] not in APART]
    found = [one for part in parts for one in _outputs(part)]
    is_set = len(parts) == 1 and plan["Node Type"] != "SetOp" and found[:1] == [plan.get("Output")]
    yield from found if is_set or "Output" not in plan else [plan["Output"]]


def _common(plan: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and plan of each part of WITH that has a plan of its own."""
    for inner in plan.get("Plans", ()):
        if (name := inner.get("Subplan Name", "")).startswith("CTE "):
            yield name.removeprefix("CTE "), inner
        yield from _common(inner)


def _tables(
    plan: dict[str, Any], common: dict[str, Any], *, is_optional: bool = False
) -> Iterator[tuple[str, Any, bool]]:
    """Yield alias and name of each table, and whether a join or ROLLUP makes it NULL.

    Instead of a name, a part of WITH and a subquery have a plan.
    """
    if "Relation Name" in plan:
        table = f'{plan["Schema"]}."{plan["Relation Name"]}"'
        yield plan["Alias"], table, is_optional
        if plan.get("Parent Relationship") == "Member":  # a partition: note_1 of note
            yield re.sub(r"_[0-9]+$", "", plan["Alias"]), table, is_optional
    elif plan["Node Type"] == "CTE Scan":
        yield plan["Alias"], common[plan["CTE Name"]], is_optional
    elif plan["Node Type"] == "Subquery Scan":
        yield plan["Alias"], plan["Plans"][0], is_optional
    elif plan["Node Type"] in {"Append", "Merge Append"}:  # UNION, or partitions
        for first in [one[0] for one in _outputs(plan) if one][:1]:
            yield first.rpartition(".")[0], plan, is_optional
    for inner in plan.get("Plans", ()):
        relation = inner["Parent Relationship"]
        is_outer = (plan.get("Join Type"), relation) in OPTIONAL or plan.get("Join Type") == "Full"
        is_within = relation not in APART and (is_optional or is_outer or "Grouping Sets" in plan)
        yield from _tables(inner, common, is_optional=is_within)


def _fields(row: Any, columns: dict[str, str]) -> dict[str, Any]:
    if row is NoneType and not columns:
        return {}
    if isinstance(row, type) and issubclass(row, msgspec.Struct):
        return {field.name: field.type for field in msgspec.structs.fields(row)}
    return {next(iter(columns)) if len(columns) == 1 else "one column": row}


def _fits(
    kind: Any, column: str, labels: dict[str, set[str]], compare: Callable[..., bool]
) -> bool:
    """Return whether a type is what asyncpg converts; compare a Literal with the enum's labels."""
    if column in {"json", "jsonb"}:
        return is_json(kind)
    if column in {"timestamp", "timestamptz"} and _has_zone(kind) != (column == "timestamptz"):
        return False
    bare = bare_type(kind)
    if column.endswith("[]"):
        is_list = get_origin(bare) is list and not is_json(kind)
        return is_list and _fits(get_args(bare)[0], column[:-2], labels, compare)
    if get_origin(bare) is Literal and column in labels:
        return compare(set(get_args(bare)), labels[column])
    if get_origin(bare) is Literal:  # the values of a CHECK
        return all(_fits(type(value), column, labels, compare) for value in get_args(bare))
    is_object = OBJECTS.fullmatch(column) or labels.get(column) == set()
    return bool(bare is TYPES.get(column, str)) and not is_object


def _has_zone(kind: Any) -> bool:
    """Return whether a type is DateTime: asyncpg takes any other as of the machine's time zone."""
    try:
        msgspec.convert("2001-02-03T04:05:06", kind)
    except msgspec.ValidationError:
        return True
    return False


def _base(kind: asyncpg.Type, domains: dict[str, str]) -> str:
    element = kind.name.removesuffix("[]")
    return domains.get(element, element) + kind.name[len(element) :]


def _type(column: str, labels: dict[str, set[str]]) -> str:
    """Return the name of a column's type, with the labels of an enum."""
    known = sorted(labels.get(column.removesuffix("[]"), ()))
    return f"{column} of {', '.join(known)}" if known else column


def _owner(row: Any) -> str:
    """Return what declares the columns: the name of a Struct, else the Query."""
    return row.__name__ if isinstance(row, msgspec.StructMeta) else "the Query"


def _name(kind: Any) -> str:
    if kind == DateTime:
        return "DateTime"
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    return kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else str(kind)
