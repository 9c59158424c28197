"""Which files are migrations, and the SQL in them as psql reads it."""

import re
from functools import cache
from pathlib import Path

from groundwork.core.database.connections import SQL_DIR

FOLDER = SQL_DIR / "migrations"
_NAME = re.compile(r"(?!post-apply)[A-Za-z0-9][\w.-]*\.sql")
_TRANSACTIONAL = re.compile(r"(?:\s*--.*\n)*?\s*--\s*transactional\s*:[ \t]*(.*)")
_COMMENT = r"(?!)"
for _ in range(4):  # comments within comments
    _COMMENT = rf"/\*(?:(?!/\*|\*/).|{_COMMENT})*\*/"
_BLANK = rf"\s|--[^\n]*|{_COMMENT}"
# COMMIT would part a change from its mark, ROLLBACK would mark what has been undone.
_TRANSACTION = re.compile(
    r"(?i)(ABORT|BEGIN|COMMIT|PREPARE\s+TRANSACTION|START|ROLLBACK(?!(\s+(WORK|TRANSACTION))?\s+TO))\b"
)
_END, _BODY = re.compile(r"(?i)END\b"), re.compile(r"(?i)\bBEGIN\s+ATOMIC\b")
_QUOTED = r"""\be'(?:[^'\\]|\\.)*'|'[^']*'|"[^"]*"|(?<![\w$])(\$(?:[^\W\d]\w*)?\$).*?\2"""
_STATEMENT = rf"(?is)(?:{_BLANK}|;)*((?:{_BLANK}|{_QUOTED}|[^;])*)"  # slow to compile


class MigrationError(SystemExit):
    """Nothing more can be applied. Uncaught, it prints its message and exits with 1."""


@cache
def migration_ids() -> tuple[str, ...]:
    """Return the IDs of this release's migrations: file names without .sql, in order."""
    ids = (path.stem for path in FOLDER.glob("*") if _NAME.fullmatch(path.name))
    return tuple(sorted(name for name in ids if not name.endswith(".rollback")))


def check_files() -> None:
    """Read anew every file that yoyo or a developer might take for a migration."""
    read_sql.cache_clear()
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
    """Return the value of the comment `-- transactional:` on top of a file, "true" without it."""
    match = _TRANSACTIONAL.match(sql)
    return match[1].lower() if match else "true"


def controls_transaction(sql: str) -> bool:
    """Return whether SQL begins or ends a transaction itself; END also ends a function's body."""
    found = statements(sql)
    ends, bodies = (sum(map(bool, map(match, found))) for match in (_END.match, _BODY.search))
    return ends > bodies or any(map(_TRANSACTION.match, found))


def statements(sql: str) -> list[str]:
    """Return the statements: separated by semicolons outside quotes and comments."""
    return [match[1] for match in re.finditer(_STATEMENT, sql) if match[1]]
