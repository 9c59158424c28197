"""`groundwork migrate`: applies the pending migrations, or checks that there are none."""

import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from glob import escape

from yoyo.connections import parse_uri
from yoyo.migrations import default_migration_table, read_migrations

from groundwork.core.config import settings_or_exit
from groundwork.core.database import migration_files as files
from groundwork.core.database.migration_backend import Backend
from groundwork.core.database.migration_statements import INVALID
from groundwork.core.observability.logging import configure_logging

logger = logging.getLogger(__name__)


def migrate(*, check: bool = False) -> None:
    """Apply what is pending, or only check that nothing is; exit with 1 and the reason."""
    settings = settings_or_exit()
    as_json = settings.log_json and not os.isatty(1)
    configure_logging(replace(settings, log_json=as_json))
    try:
        # In a thread: signal handlers run in the main one, which must not wait in C for that.
        ThreadPoolExecutor().submit(_migrate, check=check).result()
    except files.MigrationError as error:
        if not as_json:
            raise
        logger.error("%s", error)  # noqa: TRY400 - the message says it all
        sys.exit(1)


def _migrate(*, check: bool) -> None:
    migrations = read_migrations(escape(str(files.FOLDER)))
    backend = Backend(parse_uri("groundwork://"), default_migration_table)
    with backend.lock():
        pending = backend.to_apply(migrations)
        if not check:
            backend.apply_migrations(pending)
        else:
            files.compare(backend.connection.read_applied())
            if pending:
                backend.connection.refuse_other_schema()
                message = f"pending: {', '.join(migration.id for migration in pending)}"
                raise files.MigrationError(message)
        if invalid := backend.connection.run(INVALID):
            logger.warning("not valid, so not used by queries: index %s", invalid)
    logger.info("the database is up to date")
