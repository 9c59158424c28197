"""Databases for tests: temporary ones on the server, and a pool that is rolled back."""

import asyncio
import inspect
import logging
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import (
    AsyncExitStack,
    asynccontextmanager,
    chdir,
    closing,
    contextmanager,
    redirect_stderr,
    redirect_stdout,
)
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast
from urllib.parse import quote, urlencode
from uuid import uuid4

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn
from yoyo.scripts.main import main as yoyo_main

from groundwork.core.database import Connection, Connector, Pool, migration_files, migrations
from groundwork.core.database.errors import unavailable
from groundwork.core.libpq_files import add_service
from groundwork.embedded import binaries, postgres
from tests import guardian
from tests.guardian import MEMORY, VARIABLE

CHECKOUT = Path(__file__).parents[1]
_BEFORE_QUERY = ("user", "password", "dbname")
_ROOM = 1024**3  # bytes
_TURN_SECONDS = 20.0  # more than any test holds its connection
_CHECK_DEFERRED = "SAVEPOINT x; SET CONSTRAINTS ALL IMMEDIATE; ROLLBACK TO x; RELEASE x"
# The number of applied migrations, and of stored checksums.
MARKS = """
    SELECT count(*), count(text_hash)
    FROM _yoyo_migration LEFT JOIN _groundwork_migration USING (migration_hash)
"""


def run(server_url: str, statement: str) -> list[tuple[Any, ...]]:
    """Run one statement outside any transaction, and return its rows."""
    with closing(psycopg2.connect(server_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def transaction(url: str, *statements: str) -> Iterator[int]:
    """Hold the locks and snapshots of statements; return the PID of the server process."""
    with closing(psycopg2.connect(url, application_name="report")) as connection:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        yield connection.info.backend_pid


@contextmanager
def throwaway_server() -> Iterator[str]:
    """Run an embedded PostgreSQL, in memory if there is room, where it is ten times faster."""
    has_room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > _ROOM
    prefix = guardian.prefix(os.environ.get(VARIABLE, ""))
    with (
        TemporaryDirectory(prefix=prefix, dir=MEMORY if has_room else None) as folder,
        postgres(Path(folder) / "postgres") as url,
    ):
        yield url


def database_of(server_url: str, name: str) -> str:
    """Return the URL of a database on a server, whose address is anything that psql takes."""
    account = pwd.getpwuid(os.geteuid()).pw_name  # libpq's default; asyncpg has another
    parts = {"user": account} | add_service(parse_dsn(server_url)) | {"dbname": name}
    user, password, path = (quote(parts.pop(part, ""), "") for part in _BEFORE_QUERY)
    query = urlencode(parts, quote_via=quote)
    return f"postgresql://{user}:{password}@/{path}?{query}"


@contextmanager
def new_database(server_url: str, template: str = "template1") -> Iterator[str]:
    """Create a database, return its URL, and drop it afterwards."""
    name = f"groundwork_test_{uuid4().hex[:12]}"
    run(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    # A test whose second session waits for its first one would hang.
    run(server_url, f"ALTER DATABASE {name} SET lock_timeout = '10s'")
    try:
        yield database_of(server_url, name)
    finally:
        run(server_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def schema(url: str) -> str:
    """Return the schema of a database, as pg_dump writes it."""
    options = ("--schema-only", "--no-owner", "--restrict-key=tests")
    return subprocess.check_output([binaries() / "pg_dump", *options, url], text=True)


def migrate(
    url: str, folder: Path = CHECKOUT, *, check: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run `groundwork migrate` in this process, with the sql/ of a folder."""
    return _call(lambda: migrations.migrate(check=check), url, folder)


def yoyo(*arguments: str, url: str, folder: Path = CHECKOUT) -> subprocess.CompletedProcess[str]:
    """Run yoyo in this process, in the checkout or in a copy of it."""
    with chdir(folder):  # yoyo reads yoyo.ini there
        return _call(lambda: yoyo_main(arguments), url, folder)


def _call(command: Callable[[], Any], url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    out, err = StringIO(), StringIO()
    handler, package = logging.StreamHandler(out), logging.getLogger("groundwork")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(migration_files, "FOLDER", folder / "sql/migrations")
        patch.setattr(migration_files, "migration_ids", migration_files.migration_ids.__wrapped__)
        patch.setattr(migrations, "configure_logging", lambda _: None)
        patch.setattr(package, "level", logging.INFO)
        patch.setattr("groundwork.core.environment._read_dotenv", dict)  # a developer's own
        patch.setattr("groundwork.core.environment.say", lambda line, _: err.write(f"{line}\n"))
        patch.setenv("DATABASE_URL", url)
        patch.setenv("LOG_JSON", "false")
        package.addHandler(handler)
        try:
            code = command() or 0
        except SystemExit as error:
            code = error.code
        finally:
            package.removeHandler(handler)
    if isinstance(code, str):  # like the interpreter
        err.write(f"{code}\n")
        code = 1
    return subprocess.CompletedProcess([], code, out.getvalue(), err.getvalue())


def groundwork(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command with only these environment variables."""
    return subprocess.run(
        [sys.executable, "-m", "groundwork", *arguments],
        env=bare_environment() | environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def bare_environment() -> dict[str, str]:
    """Return the environment that a process needs, without settings of the service."""
    kept = ("PATH", "HOME", "PYTHONPATH", "COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
    return {name: os.environ[name] for name in (*kept, VARIABLE) if name in os.environ}


class TransactionPool(Pool):
    """A pool of one connection, the test's own, which one caller at a time acquires.

    The connection is opened on first use, because many tests need none.
    """

    max_size = 1

    def __init__(self, connect: Connector) -> None:
        self._connector = connect
        self._stack = AsyncExitStack()
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()
        self._user: asyncio.Task[Any] | None = None

    async def connection(self) -> Connection:
        """Return the test's connection, in its transaction."""
        if self._connection is None:
            self._connection = await self._stack.enter_async_context(_rolled_back(self._connector))
        return self._connection

    async def close(self) -> None:
        """Roll back the test's transaction."""
        await self._stack.aclose()

    @asynccontextmanager
    async def acquire(self) -> AsyncGenerator[Connection]:
        """Acquire the test's connection, as if it were not in a transaction.

        Raises:
            RuntimeError: the same task has acquired it, or does not give it back.
        """
        message = "a connection is acquired already: pass the connection instead of the pool"
        if self._user is asyncio.current_task():
            raise RuntimeError(message)
        try:
            await asyncio.wait_for(self._turn.acquire(), _TURN_SECONDS)
        except TimeoutError:  # a task of the one that has it, which waits for this one
            raise RuntimeError(message) from None
        try:
            lent = _Lent(await self.connection())
            self._user = asyncio.current_task()
            try:
                yield cast("Connection", lent)
            finally:
                lent.is_released = True
        except Exception as error:
            if self._connection and (translated := unavailable(error, self._connection)):
                raise translated from translated.__cause__
            raise
        finally:
            self._user = None
            self._turn.release()

    def expire(self) -> None:
        """Keep the connection, because the test needs its transaction."""

    def retry(self, since: float) -> None:
        """Connect no further."""

    def get_size(self) -> int:
        """Return 1, the size of this pool."""
        return 1

    def get_idle_size(self) -> int:
        """Return 1 unless the connection is acquired."""
        return 0 if self._turn.locked() else 1


@asynccontextmanager
async def _rolled_back(connect: Connector) -> AsyncGenerator[Connection]:
    connection = await connect()
    try:
        transaction = connection.transaction()
        await transaction.start()
        yield connection
        if not connection.is_closed():  # else the server has rolled back
            message = "the test has ended its transaction, so its writes stay: use own_database"
            assert connection.is_in_transaction(), message
            await transaction.rollback()
    finally:
        await connection.close()


class _Lent:
    """The test's connection, which behaves as if the test's transaction did not exist.

    A statement outside a transaction runs in its own savepoint, so that the connection stays
    usable after an error that the application catches, as in production.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._in_transaction = False
        self.is_released = False

    @asynccontextmanager
    async def transaction(self, **options: Any) -> AsyncGenerator[None]:
        """Start a transaction; within another it is a savepoint, as in production.

        The first has no options: it is a savepoint too, of the test's transaction.
        """
        if self._in_transaction:
            async with self._connection.transaction(**options):
                yield
            return
        self._in_transaction = True
        try:
            async with self._committed():
                yield
        finally:
            self._in_transaction = False

    def __getattr__(self, name: str) -> Any:
        """Return another method of the connection, wrapped in a savepoint."""
        if self.is_released:
            message = "the connection has been released: another request may use it"
            raise RuntimeError(message)
        method = getattr(self._connection, name)
        if self._in_transaction or not inspect.iscoroutinefunction(method):
            return method

        async def call(*arguments: Any, **options: Any) -> Any:
            async with self._committed():
                return await method(*arguments, **options)

        return call

    @asynccontextmanager
    async def _committed(self) -> AsyncGenerator[None]:
        """Keep a savepoint if COMMIT would, which checks the constraints that are deferred."""
        async with self._connection.transaction():
            yield
            await self._connection.execute(_CHECK_DEFERRED)
