"""One classification of database errors, for requests and readiness."""

import asyncio
from itertools import chain
from traceback import walk_tb
from typing import Literal

import asyncpg

from groundwork.core.database.connections import Connection

Reason = Literal[
    "database_unreachable",
    "database_timeout",
    "database_rejected",
    "database_read_only",
    "pool_saturated",
]

# SQLSTATE classes and codes (PostgreSQL's manual, appendix A); the longest prefix counts.
_REASONS: dict[str, Reason] = {
    "08": "database_unreachable",  # connection exceptions
    "57P": "database_unreachable",  # the server shuts down, starts up or ended the session
    "57014": "database_timeout",  # cancelled: statement_timeout or pg_cancel_backend()
    "55P03": "database_timeout",  # lock_timeout
    "25P03": "database_timeout",  # idle_in_transaction_session_timeout
    "25P04": "database_timeout",  # transaction_timeout
    "40": "database_timeout",  # cancelled: deadlock or serialization failure
    "25006": "database_read_only",
    "28": "database_rejected",  # wrong password, role or pg_hba.conf entry
    "3D": "database_rejected",  # no such database
    "53": "database_rejected",  # no connection slots, memory or disk left
    "58030": "database_rejected",  # its disk fails
}


class UnavailableError(Exception):
    """The database cannot serve this now; `reason` says why, the cause is the driver's error."""

    def __init__(self, reason: Reason, cause: BaseException | None = None) -> None:
        super().__init__(reason)
        self.reason: Reason = reason
        self.__cause__ = cause


def reason_of(error: BaseException) -> Reason | None:
    """Return why the database cannot serve now; None for an error in the statement or the code."""
    match error := _what_closed(error):
        case UnavailableError():
            return error.reason
        case TimeoutError():
            return "database_timeout"
        case asyncpg.TargetServerAttributeNotMatched():
            return "database_read_only"
        case asyncpg.PostgresError(sqlstate=str(code)):
            return next((_REASONS[code[:n]] for n in (5, 3, 2) if code[:n] in _REASONS), None)
        case OSError() | asyncpg.InternalClientError():
            return "database_unreachable"
    return None


def _what_closed(error: BaseException) -> BaseException:
    return (isinstance(error, asyncpg.ConnectionDoesNotExistError) and error.__cause__) or error


def connect_reason_of(error: BaseException) -> Reason:
    """Return why no connection was made; whatever else the server says is a rejection."""
    return reason_of(error) or "database_rejected"


def describe(error: BaseException) -> str:
    """Return an error for the log, with its notes: the server it is about, the file of a query."""
    notes = dict.fromkeys(getattr(error, "__notes__", ()))  # a lookup may be that of two attempts
    error = _what_closed(error)
    return ": ".join(filter(None, [type(error).__name__, str(error), *notes]))


def unavailable(error: BaseException, connection: Connection) -> UnavailableError | None:
    """Return an UnavailableError where a driver's error does not say by its type that it is one.

    OSError and TimeoutError may come from anywhere in a feature, InterfaceError is also what a
    wrong call gets.
    """
    if isinstance(error, TimeoutError):
        # asyncio.timeout() makes one of the CancelledError that it sends to what is under way.
        return UnavailableError("database_timeout", error) if is_drivers(error) else None
    broken = isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError)
    if not (broken and connection.is_closed()):
        return None
    # The end of a transaction says only that the connection is closed: what closed it came before.
    while isinstance(error.__context__, asyncpg.PostgresConnectionError | asyncpg.InterfaceError):
        error = error.__context__
    if isinstance(error, asyncpg.InternalClientError):  # it called the session busy
        error.add_note("the server had ended the session")
    return UnavailableError(reason_of(error) or "database_unreachable", error)


def is_drivers(error: BaseException) -> bool:
    """Return whether an error, or its cause, has come through the driver."""
    frames = chain(*(walk_tb(one.__traceback__) for one in (error, error.__cause__) if one))
    return any(frame.f_globals["__name__"].startswith("asyncpg.") for frame, _ in frames)


def abandon(connection: Connection) -> None:
    """Close a connection whose statement did not end in time, once a cancel request was sent.

    The driver waits for the server's response to it, as long as for the statement itself.
    """
    asyncio.get_running_loop().call_later(0.5, connection.terminate)
