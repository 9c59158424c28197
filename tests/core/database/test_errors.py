"""One classification of database errors."""

from ssl import SSLError

import asyncpg
import pytest

from groundwork.core.database.errors import UnavailableError, connect_reason_of, describe, reason_of


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), "database_timeout"),
        (asyncpg.QueryCanceledError(), "database_timeout"),
        (asyncpg.LockNotAvailableError(), "database_timeout"),
        (asyncpg.IdleInTransactionSessionTimeoutError(), "database_timeout"),
        (asyncpg.DeadlockDetectedError(), "database_timeout"),
        (asyncpg.SerializationError(), "database_timeout"),
        (asyncpg.TargetServerAttributeNotMatched(), "database_read_only"),
        (asyncpg.ReadOnlySQLTransactionError(), "database_read_only"),
        (asyncpg.InvalidPasswordError(), "database_rejected"),
        (asyncpg.InvalidAuthorizationSpecificationError(), "database_rejected"),
        (asyncpg.InvalidCatalogNameError(), "database_rejected"),
        (asyncpg.TooManyConnectionsError(), "database_rejected"),
        (asyncpg.DiskFullError(), "database_rejected"),
        (asyncpg.PostgresIOError(), "database_rejected"),
        (asyncpg.ConnectionDoesNotExistError(), "database_unreachable"),
        (asyncpg.CannotConnectNowError(), "database_unreachable"),
        (asyncpg.AdminShutdownError(), "database_unreachable"),
        (asyncpg.CrashShutdownError(), "database_unreachable"),
        (asyncpg.InternalClientError(), "database_unreachable"),
        (ConnectionRefusedError(), "database_unreachable"),
        (UnavailableError("pool_saturated"), "pool_saturated"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_an_error_of_the_database_has_a_reason(error: Exception, reason: str) -> None:
    """Lost, timed out, cancelled, rejected and read-only are distinguished by type and SQLSTATE."""
    assert reason_of(error) == reason
    assert connect_reason_of(error) == reason


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.UniqueViolationError(),
        asyncpg.UndefinedColumnError(),
        asyncpg.DataError(),
        asyncpg.InsufficientPrivilegeError(),
        asyncpg.DataCorruptedError(),
        asyncpg.InterfaceError("wrong call"),
        ValueError(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_in_the_code_has_none(error: Exception) -> None:
    """Whatever is wrong with a statement is a bug; while connecting it is a rejection."""
    assert reason_of(error) is None
    assert connect_reason_of(error) == "database_rejected"


def test_the_reason_is_what_the_server_said_last() -> None:
    """A connection that the server closes has its reason in the server's last message."""
    error = asyncpg.ConnectionDoesNotExistError("closed")
    error.__cause__ = asyncpg.TransactionTimeoutError()

    assert reason_of(error) == "database_timeout"


@pytest.mark.parametrize(
    ("error", "text"), [(OSError("no"), "OSError: no"), (OSError(), "OSError")]
)
def test_an_error_is_described_for_the_log(error: Exception, text: str) -> None:
    """Its type, its text if it has one, and each of its notes once."""
    assert describe(error) == text

    error.add_note("db:5432")
    error.add_note("db:5432")

    assert describe(error) == f"{text}: db:5432"


def test_what_closed_a_connection_is_described() -> None:
    """That it was closed says nothing: the log has why, and still the server it is about."""
    error = asyncpg.ConnectionDoesNotExistError("closed")
    error.add_note("db:5432")
    assert describe(error) == "ConnectionDoesNotExistError: closed: db:5432"

    error.__cause__ = SSLError(1, "alert certificate expired")
    assert describe(error) == "SSLError: alert certificate expired: db:5432"
