"""What a check of the database found: results, the reasons they give, and how they change."""

import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

import asyncpg

REASONS = (
    "ok",
    "starting",
    "database_unreachable",
    "database_timeout",
    "database_rejected",
    "database_read_only",
    "migrations_pending",
    "pool_saturated",
    "draining",
)


@dataclass(frozen=True, slots=True)
class Result:
    """What a check found. Latency in seconds; `cause` is for the log, never for an answer."""

    status: Literal["ok", "degraded", "unavailable"]
    reason: str | None = None
    pending: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    applied: tuple[str, ...] = ()
    server_version: str | None = None
    latency: float | None = None
    cause: str | None = None
    checked_at: float = field(default_factory=time.monotonic)


class Sample(NamedTuple):
    """When a check ended, a time.monotonic(), and its latency in seconds; None: it failed."""

    at: float
    latency: float | None


class Transition(NamedTuple):
    """A change of status or reason, and for how many seconds the last one had held."""

    at: datetime
    status: Literal["ok", "degraded", "unavailable"]
    reason: str | None
    previous: str
    lasted_seconds: float


def reason_of(error: Exception) -> str:
    """Sort an error by its class and SQLSTATE; its text is for the log alone."""
    match error:
        case TimeoutError() | asyncpg.QueryCanceledError():
            return "database_timeout"
        case asyncpg.TargetServerAttributeNotMatched():
            return "database_read_only"
        # Class 08 is a lost connection, 57 a server that is starting or stopping.
        case asyncpg.PostgresError(sqlstate=str(code)) if not code.startswith(("08", "57")):
            return "database_rejected"
        case _:
            return "database_unreachable"
