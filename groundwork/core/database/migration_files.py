"""Which files are migrations, and the SQL in them as psql reads it."""

import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from groundwork.core.database.connections import SQL_DIR

_SUPPORTED = re.compile(r"(?!post-apply)[A-Za-z0-9][\w.-]*\.sql")
_TRANSACTIONAL = re.compile(r"(?:\s*--[^\n]*\n)*?\s*--\s*transactional\s*:[ \t]*([^\n]*)")
_COMMENT = r"(?!)"
for _ in range(4):  # comments within comments
    _COMMENT = rf"/\*(?:(?!/\*|\*/).|{_COMMENT})*\*/"
_QUOTED = r"""\be'(?:[^'\\]|\\.|'')*'|'[^']*'|"[^"]*"|(?<![\w$])\$((?:[a-z_]\w*)?)\$.*?\$\1\$"""
_BODY = r"\bbegin\s+atomic\b.*?;\s*end\b"  # of a function in SQL
_OPAQUE = re.compile(rf"--[^\n]*|{_COMMENT}|{_QUOTED}|{_BODY}", re.IGNORECASE | re.DOTALL)


class MigrationError(SystemExit):
    """Nothing more can be applied. Uncaught, it prints its message and exits with 1."""


class Script(NamedTuple):
    """A file: its text, the statements in it, and whether they run in one transaction."""

    text: str
    statements: list[str]
    transactional: bool


def folder() -> Path:
    """Return the folder of the migrations."""
    return SQL_DIR / "migrations"


@cache
def migration_ids() -> tuple[str, ...]:
    """Return the IDs of this release's migrations: file names without .sql, in order."""
    names = (path.name for path in folder().glob("*") if _SUPPORTED.fullmatch(path.name))
    ids = (name.removesuffix(".sql") for name in names)
    return tuple(sorted(name for name in ids if not name.endswith(".rollback")))


def check_files() -> None:
    """Read anew every file that yoyo or a developer might take for a migration.

    Raises:
        MigrationError: naming one that is not supported or can't be read.
    """
    read_script.cache_clear()
    for path in sorted(folder().glob("*")):
        if path.suffix.lower() in {".sql", ".py"}:
            read_script(path)


@cache  # a file that is edited meanwhile is applied, and recorded, as it was when first read
def read_script(path: Path) -> Script:
    """Read a file in UTF-8, with or without a byte order mark.

    Raises:
        MigrationError: it is missing, not UTF-8, or not supported.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        message = f"{path.name} can't be read: {error}"
        raise MigrationError(message) from None
    match = _TRANSACTIONAL.match(text)
    directive = match[1].lower() if match else "true"
    if not _SUPPORTED.fullmatch(path.name) or directive not in {"true", "false"}:
        message = (
            f"{path.name} is not supported: a migration is a file such as 0003.create-note.sql, "
            "with `-- transactional: false` on top where it needs that; rename or delete this one"
        )
        raise MigrationError(message)
    return Script(text, _split(text), directive == "true")


def _split(text: str) -> list[str]:
    """Return the statements: separated by semicolons outside quotes, comments and bodies."""
    code = _OPAQUE.sub(lambda match: " " if match[0][:2] in {"--", "/*"} else match[0], text)
    masked = _OPAQUE.sub(lambda match: "x" * len(match[0]), code)
    ends = [match.end() for match in re.finditer(r";|\Z", masked)]
    pieces = (code[start:end].strip("; \t\n\r\f\v") for start, end in pairwise([0, *ends]))
    return [piece for piece in pieces if piece]
