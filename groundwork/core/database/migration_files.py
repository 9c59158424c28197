"""Which files are migrations, and the SQL in them as psql reads it."""

import re
from functools import cache
from pathlib import Path

from groundwork.core.database.connections import SQL_DIR

FOLDER = SQL_DIR / "migrations"
# x.down.sql, as other tools call a rollback file, would be applied right after x.sql.
_NAME = re.compile(
    r"(?!post-apply|.*\.(?!rollback\.)(?i:down|undo|rollback)\.)[A-Za-z0-9][\w.-]*\.sql"
)
_TRANSACTIONAL = re.compile(r"(?i)(?:\s*--.*\n)*?\s*--\s*transactional\s*:(.*)")
_COMMENT = r"(?!)"
for _ in range(4):  # comments within comments
    _COMMENT = rf"/\*(?:(?!/\*|\*/).|{_COMMENT})*\*/"
_COMMENT = rf"--[^\n]*|{_COMMENT}"
_QUOTED = r"""\be'(?:[^'\\]|\\.|'')*'|'[^']*'|"[^"]*"|(?<![\w$])(\$(?:[^\W\d]\w*)?\$).*?\1"""
_BLANK = rf"(?s)(?:\s|{_COMMENT})*"  # slow to compile
_TOKEN = (
    rf"(?is){_QUOTED}|{_COMMENT}|(?P<stop>;)|(?P<end>\Z)"
    r"|(?P<open>\(|(?<![\w$.])(?:CASE|BEGIN\s+ATOMIC)\b)|(?P<close>\)|(?<![\w$.])END\b)"
)
# COMMIT would separate a change from its mark, ROLLBACK would mark what has been undone.
_TRANSACTION = re.compile(
    r"(?i)(ABORT|BEGIN|COMMIT|END|PREPARE\s+TRANSACTION|START"
    r"|ROLLBACK(?!(\s+(WORK|TRANSACTION))?\s+TO))\b"
)

type Statements = list[tuple[int, str]]  # each with the line of the file on which it begins


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
    """Return the value of the comment `-- transactional:` on top of a file, "true" without it."""
    match = _TRANSACTIONAL.match(sql)
    return match[1].strip().lower() if match else "true"


def read_statements(path: Path) -> Statements:
    """Return the statements of a file; raise MigrationError if one begins or ends a transaction."""
    found = statements(read_sql(path))
    for line, statement in found:
        if _TRANSACTION.match(statement):
            message = (
                f"{path.name} line {line}: remove BEGIN, COMMIT and ROLLBACK; a file is one "
                "transaction, or, after `-- transactional: false`, each statement is one"
            )
            raise MigrationError(message)
    return found


def statements(sql: str) -> Statements:
    """Split SQL like psql: not in quotes, comments, parentheses or the body of a function."""
    found, start, line, depth = [], 0, 1, 0
    for token in re.finditer(_TOKEN, sql):
        kind = token.lastgroup
        depth = max(0, depth + (kind == "open") - (kind == "close"))
        if kind == "end" or (kind == "stop" and not depth):
            piece = sql[start : token.start()]
            statement = re.sub(_BLANK, "", piece, count=1)
            if statement:
                found.append((line + piece.removesuffix(statement).count("\n"), statement))
            start, line = token.end(), line + piece.count("\n")
    return found
