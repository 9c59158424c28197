"""Which files are migrations, their SQL, and whether that is what was applied."""

import hashlib
import logging
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from groundwork.core.database.connections import SQL_DIR

logger = logging.getLogger(__name__)

FOLDER = SQL_DIR / "migrations"
# x.down.sql, as other tools call a rollback file, would be applied right after x.sql.
_NAME = re.compile(
    r"(?!post-apply|.*\.(?!rollback\.)(?i:down|undo|rollback)\.)[A-Za-z0-9][\w.-]*\.sql"
)
# On top with any value, so that a typo is refused. Below, any other value is prose.
_TRANSACTIONAL = re.compile(
    r"(?i)\A(?:\s*--.*\n)*?\s*--\s*transactional\s*:(.*)"
    r"|(?m:^[ \t]*--[ \t]*transactional[ \t]*:[ \t]*(true|false)\s*$)"
)
_CHANGED = (
    "{0} has changed since it was applied: restore the file, and put the change into a new "
    "migration. In development, undo it with `yoyo rollback --revision {0}` and apply it again, "
    "or delete the data in .groundwork/postgres"
)
GONE = "{} has been applied and its file is missing: restore it, or deploy the release that has it"


class MigrationError(SystemExit):
    """Nothing more can be applied. Uncaught, it prints its message and exits with 1."""


@cache
def migration_ids() -> tuple[str, ...]:
    """Return the IDs of this release's migrations: file names without .sql, in order."""
    ids = (path.stem for path in FOLDER.glob("*") if _NAME.fullmatch(path.name))
    return tuple(sorted(name for name in ids if not name.endswith(".rollback")))


def check_files() -> None:
    """Read every file that yoyo or a developer might take for a migration."""
    for path in sorted(FOLDER.glob("*")):
        if path.suffix.lower() in {".sql", ".py"}:
            read_sql(path)


@cache  # a file that is edited meanwhile is applied, and recorded, as it was when first read
def read_sql(path: Path) -> str:
    """Read a file; raise MigrationError if it is missing, not UTF-8, or not supported."""
    try:
        sql = path.read_text("utf-8-sig")
        if "\0" in sql:  # the driver would send what stands before it
            message = "it has a zero byte"
            raise ValueError(message)  # noqa: TRY301 - the same message as for a byte that is not UTF-8
    except (OSError, ValueError) as error:
        message = f"{path.name} can't be read: {error}"
        raise MigrationError(message) from None
    if not _NAME.fullmatch(path.name) or directive(sql) not in {"true", "false"}:
        message = (
            f"{path.name} is not supported: a migration is a file such as 0003.create-note.sql, "
            "with `-- transactional: false` on top where it needs that; rename or delete this one"
        )
        raise MigrationError(message)
    return sql


def directive(sql: str) -> str:
    """Return the value of a file's first comment `-- transactional:`, "true" without it."""
    match = _TRANSACTIONAL.search(sql)
    return match[match.lastindex or 1].strip().lower() if match else "true"


def checksum(name: str) -> str:
    """Hash a file as psql reads it: line endings are newlines, every other character counts."""
    return hashlib.sha256(read_sql(FOLDER / f"{name}.sql").encode()).hexdigest()


def compare(applied: Mapping[str, str | None]) -> list[str]:
    """Return those applied without checksum; raise MigrationError if a file differs or is gone."""
    known = {name: checksum(name) for name in migration_ids()}
    if not known:
        message = f"no migrations in {FOLDER}"
        raise MigrationError(message)
    changed = [name for name in known if applied.get(name) not in (None, known[name])]
    reasons = [_CHANGED.format(name) for name in changed]
    unknown = sorted(applied.keys() - known.keys())
    # A previous release, deployed again, must start: all its migrations are applied, and those
    # of the newer release come after them.
    newer = known.keys() <= applied.keys() and min(unknown, default="") > max(known)
    for name in unknown:
        if newer:
            logger.warning("%s was applied by a newer release and is left as it is", name)
        else:
            reasons.append(GONE.format(name))
    if reasons:
        raise MigrationError("\n  ".join(["nothing was applied:", *reasons]))
    return [name for name in known if applied.get(name, "") is None]
