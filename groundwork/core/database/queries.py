"""SQL files as typed statements: one Query for each file in sql/<feature>/."""

import logging
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import cached_property
from math import inf
from operator import call
from typing import Any, ClassVar, get_args

import asyncpg
import msgspec

from groundwork.core.database.connections import SQL_DIR
from groundwork.core.database.errors import abandon
from groundwork.core.database.pool import Executor, Pool
from groundwork.core.observability.metrics import OPERATIONS, Histogram
from groundwork.core.structs import bare_type, is_json

logger = logging.getLogger(__name__)


class Query[Row, *Parameters]:
    """The statement in sql/<name>.sql: `LIST = Query[Note, int, int]("notes/list")`.

    A row is a Struct whose fields are the columns in their order, or else the only column's value.
    The other types are those of $1, $2 and so on. Structs and dicts are json or jsonb.
    """

    slow_seconds: ClassVar[float] = inf  # SLOW_QUERY_SECONDS
    __orig_class__: Any  # set by typing: Query[Note, int, int]

    def __init__(self, name: str) -> None:
        self.name = name

    async def all(self, db: Executor, *parameters: *Parameters) -> list[Row]:
        """Return all rows."""
        return await self._run(db, "fetch", parameters, lambda rows: [*map(self._make_row, rows)])

    async def first(self, db: Executor, *parameters: *Parameters) -> Row | None:
        """Return the first row, or None."""
        return await self._run(db, "fetchrow", parameters, lambda one: one and self._make_row(one))

    async def one(self, db: Executor, *parameters: *Parameters) -> Row:
        """Return the row of a statement that always returns one, else raise LookupError."""
        make = self._make_row
        if rows := await self._run(db, "fetchrow", parameters, lambda r: [make(r)] if r else []):
            return rows[0]
        message = f"sql/{self.name}.sql returned no row"
        raise LookupError(message)

    async def execute(self, db: Executor, *parameters: *Parameters) -> int:
        """Return the number of rows that the statement has changed."""
        return await self._run(db, "execute", parameters, _count)

    @cached_property
    def text(self) -> str:
        """Return the SQL."""
        return (SQL_DIR / f"{self.name}.sql").read_text("utf-8-sig")

    @cached_property
    def types(self) -> tuple[Any, ...]:
        """Return the type of the rows, then those of the parameters."""
        return get_args(self.__orig_class__)

    async def _run[T](self, db: Executor, method: str, given: Any, make: Callable[[Any], T]) -> T:
        if isinstance(db, Pool):
            async with db.acquire() as connection:
                return await self._run(connection, method, given, make)
        result, started = None, time.perf_counter()
        try:
            return make(result := await getattr(db, method)(self.text, *self._encode(given)))
        except TimeoutError:
            abandon(db)  # else the end of a transaction waits for the server too
            raise
        except Exception as error:
            error.add_note(f"in {self._place(getattr(error, 'position', None))}")
            raise
        finally:
            seconds = time.perf_counter() - started
            self._duration.observe(seconds)
            slow = seconds >= self.slow_seconds
            if logger.isEnabledFor(level := logging.WARNING if slow else logging.DEBUG):
                fields = {"duration_ms": round(seconds * 1000, 3), "rows": _count(result)}
                logger.log(level, "slow query %s" if slow else "query %s", self.name, extra=fields)

    def _place(self, position: str | None) -> str:
        """Return the file, and line and column of the character that PostgreSQL points at."""
        lines = self.text[: int(position or 0)].split("\n")
        return f"sql/{self.name}.sql" + (f":{len(lines)}:{len(lines[-1])}" if position else "")

    def _encode(self, parameters: tuple[Any, ...]) -> Sequence[Any]:
        if not any(self._json_parameters):
            return parameters
        return [
            msgspec.json.encode(value).decode() if is_json and value is not None else value
            for value, is_json in zip(parameters, self._json_parameters, strict=True)
        ]

    @cached_property
    def _json_parameters(self) -> list[bool]:
        return [is_json(kind) for kind in self.types[1:]]

    @cached_property
    def _duration(self) -> Histogram:
        return OPERATIONS.labels("postgresql", self.name)

    @cached_property
    def _make_row(self) -> Callable[[asyncpg.Record], Row]:
        kind = self.types[0]
        if not isinstance(kind, msgspec.StructMeta):
            decode = _decoder(kind)
            return lambda record: decode(record[0])
        decoders = [_decoder(field.type) for field in msgspec.structs.fields(self.types[0])]
        if set(decoders) == {_as_it_is}:
            return lambda record: kind(*record)
        return lambda record: kind(*map(call, decoders, record))


def _decoder(kind: Any) -> Callable[[Any], Any]:
    if bare_type(kind) is Decimal:  # the driver reads 10000 as 1E+4
        return lambda value: value and Decimal(f"{value:f}")
    if not is_json(kind):
        return _as_it_is
    # Of a Raw or None msgspec reads None alone.
    decode = msgspec.json.Decoder(msgspec.Raw if bare_type(kind) is msgspec.Raw else kind).decode
    return lambda value: None if value is None else decode(value)


def _as_it_is(value: Any) -> Any:
    return value


def _count(result: Any) -> int:
    """Return the number of rows in what asyncpg returns: records, one, none, or DELETE 1."""
    if isinstance(result, str):
        count = result.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0  # LOCK TABLE changes none
    return len(result) if isinstance(result, list) else int(result is not None)
