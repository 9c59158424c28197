"""Connections to DATABASE_URL, for the pool and for the readiness check."""

import logging
import os
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg

from groundwork.core.config import Settings
from groundwork.core.database.addresses import Lookups, LoopTo, Target
from groundwork.core.database_url import DatabaseURL, DatabaseURLError, parse_database_url
from groundwork.core.environment import read_environment
from groundwork.core.libpq_files import find_password, unreadable_file

logger = logging.getLogger(__name__)

type Connection = asyncpg.Connection[asyncpg.Record]
type Connect = Callable[[], Awaitable[Connection]]

# After these libpq tries the next host as well; a wrong password is wrong everywhere.
_TRY_NEXT_HOST = (
    OSError,
    asyncpg.CannotConnectNowError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.TargetServerAttributeNotMatched,
)


class Connector:
    """Opens connections; every host and every address of a name gets its share of the timeout.

    asyncpg's own timeout is for the whole list, so a silent host would hide those behind it. The
    target that worked last is tried first.
    """

    def __init__(self, settings: Settings) -> None:
        self._given = settings.database_url
        self._url = parse_database_url(self._given)
        self._timeout = settings.db_connect_timeout
        self._last_good = Target()
        self._lookups = Lookups()
        self._invalid = ""  # why the address is, if so
        self._options: dict[str, Any] = {
            "command_timeout": settings.db_command_timeout,
            "statement_cache_size": settings.db_statement_cache_size,
            "passfile": "/dev/null/none",  # find_password() reads it
        }

    async def __call__(self) -> Connection:
        """Open one connection.

        Raises:
            OSError: unreachable, or TimeoutError after DB_CONNECT_TIMEOUT.
            asyncpg.PostgresError: the server refused it.
            asyncpg.TargetServerAttributeNotMatched: no host is as target_session_attrs requires.
        """
        deadline = time.monotonic() + self._timeout
        url = self._read_url()
        failures: list[Exception] = [TimeoutError("no host name was looked up in time")]
        others: list[str] = []  # errors of the hosts before
        targets = sorted((Target(*host) for host in url.hosts), key=self._is_other)
        while targets:
            target = targets.pop(0)
            share = (deadline - time.monotonic()) / (len(targets) + 1)
            try:
                # A name is looked up when its host's turn comes: the lookup of another may hang.
                if target.host and target.address is None:
                    addresses = await self._lookups.addresses_of(target.host, share / 2)
                    found = [target._replace(address=address) for address in addresses]
                    targets = sorted(found, key=self._is_other) + targets
                    continue
                connection = await self._open(url, target, share)
            except _TRY_NEXT_HOST as error:
                about = unreadable_file(error, url.parts) or str(target)
                error.add_note("; ".join([about, *others]))
                others.append(f"{error!r} of {target}")
                failures.append(error)
            else:
                self._last_good = target
                return connection
        # A server that shuts down waits for its sessions, whatever the other hosts are.
        shutdowns = (one for one in failures if isinstance(one, asyncpg.CannotConnectNowError))
        raise next(shutdowns, failures[-1])

    async def open_checked(self) -> Connection:
        """Open one connection and run a statement: a pooler accepts more than it has sessions for.

        The statement too has to end within DB_CONNECT_TIMEOUT.
        """
        connection = await self()
        try:
            await connection.execute("SELECT 1", timeout=self._timeout)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _open(self, url: DatabaseURL, target: Target, seconds: float) -> Connection:
        options = self._options | {"server_settings": url.server_settings}
        if url.uses_system_certificates:
            # As asyncpg makes it. The default one of Python 3.13 refuses more than libpq.
            options["ssl"] = context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_default_certs()
            if certificate := url.parts.get("sslcert"):
                key, password = url.parts.get("sslkey"), url.parts.get("sslpassword")
                context.load_cert_chain(certificate, key, password)
        if target.address:
            options["loop"] = LoopTo(target.address)
        if not (url.parts.get("password") or os.environ.get("PGPASSWORD")):
            options["password"] = find_password(url.parts, target.host or "", target.port or 5432)
        return await asyncpg.connect(
            url.dsn, host=target.host, port=target.port, timeout=seconds, **options
        )

    def _is_other(self, target: Target) -> bool:
        good = self._last_good
        return target._replace(address=target.address or good.address) != good

    def _read_url(self) -> DatabaseURL:
        """Return the address as it is now: its file, its service and its certificate may change."""
        url, errors, cause = self._given, dict[str, str](), ""
        if "DATABASE_URL_FILE" in os.environ:
            values, errors = read_environment(["DATABASE_URL"])
            url = values.get("DATABASE_URL", "")
        try:
            self._url = parse_database_url(url)
        except DatabaseURLError as error:
            cause = errors.get("DATABASE_URL", str(error))
        if cause and cause != self._invalid:
            logger.warning("DATABASE_URL is invalid", extra={"cause": cause})
        self._invalid = cause
        return self._url


_PACKAGE = Path(__file__).parents[2]
# A wheel carries sql/ inside the package, a checkout beside it.
SQL_DIR = next(path for path in (_PACKAGE / "sql", _PACKAGE.parent / "sql") if path.is_dir())
