"""Running a migration's statements: errors with a line, and no index left that is not valid."""

import re
from contextlib import suppress
from pathlib import Path

import psycopg2

from groundwork.core.database.migration_files import MigrationError, read_sql
from groundwork.core.database.migration_session import Session

_COMMENT = r"(?!)"
for _ in range(4):  # comments within comments
    _COMMENT = rf"/\*(?:(?!/\*|\*/).|{_COMMENT})*\*/"
_COMMENT = rf"--[^\n]*|{_COMMENT}"
_QUOTED = r"""\be'(?:[^'\\]|\\.|'')*'|'[^']*'|"[^"]*"|(?<![\w$])(\$\w*\$).*?\1"""
_BLANK = rf"(?s)(?:\s|{_COMMENT})*"  # slow to compile
_TOKEN = (
    rf"(?is){_QUOTED}|{_COMMENT}|(?P<stop>;)|(?P<end>\Z)"
    r"|(?P<open>\(|(?<![\w$.])(?:CASE|BEGIN\s+ATOMIC)\b)|(?P<close>\)|(?<![\w$.])END\b)"
)
# COMMIT separates a change from its mark, ROLLBACK marks what is undone, DISCARD ALL unlocks.
_TRANSACTION = re.compile(
    r"(?i)ABORT|BEGIN|COMMIT|DISCARD\s+ALL|END|PREPARE\s+TRANSACTION|START"
    r"|ROLLBACK(?!(\s+(WORK|TRANSACTION))?\s+TO)"
)
# No query queues behind what runs CONCURRENTLY, and the snapshots it waits for may last.
_NO_TIMEOUTS = "SET lock_timeout = 0; SET statement_timeout = 0"
_TIMEOUTS = """
    SELECT format('SET lock_timeout = %L; SET statement_timeout = %L',
        current_setting('lock_timeout'), current_setting('statement_timeout'))
"""
_CONCURRENT = re.compile(
    r"(?is)((CREATE|DROP)\s+(UNIQUE\s+)?INDEX\s+|(REINDEX|REFRESH|ALTER.*\sDETACH)\b.*\b)CONCURRENTLY\b"
)
_CREATED = re.compile(
    r'(?i)\bINDEX\s+CONCURRENTLY\s+(?:IF\s+NOT\s+EXISTS\s+)?("[^"]+"|[\w$]+)\s+ON\s+(?:ONLY\s+)?'
    r'((?:"[^"]+"|[\w$.])+)'
)
# That of a partitioned table, of the kind "I", is not valid until each partition has one.
INVALID = """
    SELECT string_agg(indexrelid::regclass::text, ', ')
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE NOT indisvalid AND relkind = 'i'
"""
_NAMED = "AND indrelid = to_regclass(%(table)s) AND relname = (parse_ident(%(name)s))[1]::name"
_NOT_NAMED = "AND lower(relname) <> ALL (regexp_split_to_array(lower(%(sql)s), '[^[:word:]$]+'))"

type Statements = list[tuple[int, str]]  # each with the line of the file on which it begins


def read_statements(path: Path) -> Statements:
    """Return a file's statements; raise MigrationError if one ends a transaction or the lock."""
    found = statements(read_sql(path))
    for line, statement in found:
        if _TRANSACTION.match(statement):
            message = (
                f"{path.name} line {line}: remove BEGIN, COMMIT, ROLLBACK and DISCARD ALL; a file "
                "is one transaction, or, after `-- transactional: false`, each statement is one"
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


def run_statements(session: Session, statements: Statements) -> None:
    """Run statements; an error ends with the number and the text of the line in the file."""
    for line, statement in statements:
        try:
            _run(session, statement)
        except psycopg2.Error as error:
            before = int(error.diag.statement_position or 1) - 1
            number = line + statement.count("\n", 0, before)
            there, _, _ = statement[before:].partition("\n")
            message = re.sub(r"\nLINE \d+: .*\n.*\^|: use the copy_.*", "", str(error).strip())
            error.args = (f"{message}\nLINE {number}: {there:.80}\n",)
            raise


def _run(session: Session, statement: str) -> None:
    """Run a statement; an index that it creates CONCURRENTLY is valid, or is not there."""
    head = re.sub(r"--.*|(?s:/\*.*?\*/)", " ", statement[:1000])  # without comments
    if not _CONCURRENT.match(head):
        session.run(statement)
        return
    timeouts = session.run(_TIMEOUTS)  # the file may have SET them
    session.run(_NO_TIMEOUTS)
    try:
        _drop_invalid(session, head)  # of a run that was killed
        session.run(statement)
    finally:
        with suppress(psycopg2.Error):
            session.run(timeouts)
            _drop_invalid(session, head)


def _drop_invalid(session: Session, statement: str) -> None:
    for name, table in _CREATED.findall(statement):
        if index := session.run(INVALID + _NAMED, name=name, table=table):
            session.run(f"DROP INDEX CONCURRENTLY {index}")


def refuse_invalid(session: Session, sql: str = "") -> None:
    """Raise MigrationError with the indexes that are not valid, but those that `sql` names."""
    if names := session.run(INVALID + _NOT_NAMED, sql=sql):
        message = (
            "nothing more was applied: CREATE, DROP or REINDEX CONCURRENTLY failed or is still "
            f"running for index {names}: drop what is not valid, or rebuild it with REINDEX"
        )
        raise MigrationError(message)
