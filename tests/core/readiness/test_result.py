"""The reason of each error of the check."""

import asyncpg
import pytest

from groundwork.core.database.connections import UnreachableError
from groundwork.core.readiness.result import reason_of


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), "database_timeout"),
        (asyncpg.QueryCanceledError(), "database_timeout"),
        (asyncpg.TargetServerAttributeNotMatched(), "database_read_only"),
        (asyncpg.InvalidPasswordError(), "database_rejected"),
        (asyncpg.InvalidCatalogNameError(), "database_rejected"),
        (asyncpg.TooManyConnectionsError(), "database_rejected"),
        (asyncpg.ConnectionDoesNotExistError(), "database_unreachable"),
        (asyncpg.CannotConnectNowError(), "database_unreachable"),
        (asyncpg.AdminShutdownError(), "database_unreachable"),
        (ConnectionRefusedError(), "database_unreachable"),
        (UnreachableError(), "database_unreachable"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_an_error_has_a_reason(error: Exception, reason: str) -> None:
    """The class of an error decides between rejected, timeout, read-only and unreachable."""
    assert reason_of(error) == reason
