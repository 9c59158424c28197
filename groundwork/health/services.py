"""Details about this instance: results, no HTTP."""

import asyncio
import resource
import time
from pathlib import Path
from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct

from groundwork import __version__
from groundwork.core.config import ENVIRONMENTS, Settings
from groundwork.core.database import Executor, Pool
from groundwork.core.database.errors import connect_reason_of
from groundwork.core.database.queries import Query
from groundwork.core.lifecycle import Lifecycle
from groundwork.core.observability.logging import dropped_lines
from groundwork.core.readiness.check import Readiness
from groundwork.core.readiness.result import REASONS, Result
from groundwork.core.structs import DateTime
from groundwork.core.tasks import run_with_timeout

type Status = Literal["ok", "degraded", "unavailable"]
type Reason = Annotated[str, Meta(extra_json_schema={"enum": [*REASONS[1:]]})]
type Count = Annotated[int, Meta(ge=0)]
type Number = Annotated[float, Meta(ge=0)]


class Installation(Struct):
    """The row that identifies this installation."""

    id: UUID
    created_at: DateTime
    updated_at: DateTime


class Change(Struct):
    """A change of status or reason, and for how long the previous one held."""

    at: DateTime
    status: Status
    reason: Reason | None
    previous: str
    lasted_seconds: Number


class Process(Struct):
    """Resident memory is null where the system does not report it."""

    memory_bytes: Count | None
    event_loop_lag_ms: Number
    log_lines_dropped: Count


class Connections(Struct):
    """The connections of the pool."""

    size: Count
    idle: Count
    in_use: Count
    max: Count


class Migrations(Struct):
    """Names; `unknown` are applied but not part of this version."""

    applied: tuple[str, ...]
    pending: tuple[str, ...]
    unknown: tuple[str, ...]


class Database(Struct):
    """The last readiness check, `age_seconds` old; `latency_ms` is null if it failed.

    `cause` is the class of the error: its text is in the log.
    """

    status: Status
    reason: Reason | None
    cause: str | None
    latency_ms: Number | None
    server_version: str | None
    age_seconds: Number
    pool: Connections
    migrations: Migrations


class Components(Struct):
    """What the service depends on."""

    database: Database


class Details(Struct):
    """The report; `installation_reason` says why the installation could not be read."""

    status: Status
    reason: Reason | None
    version: str
    environment: Annotated[str, Meta(extra_json_schema={"enum": [*ENVIRONMENTS]})]
    uptime_seconds: Number
    installation: Installation | None
    installation_reason: Reason | None
    transitions: Annotated[list[Change], Meta(max_length=20)]
    process: Process
    components: Components


class Ok(Struct):
    """The instance takes requests."""

    status: Literal["ok"]


class Degraded(Struct):
    """The instance takes requests, with a reason to look at it."""

    status: Literal["degraded"]
    reason: Reason


class Unavailable(Struct):
    """The instance takes no requests."""

    status: Literal["unavailable"]
    reason: Annotated[Reason, Meta(extra_json_schema={"not": {"const": "migrations_pending"}})]


class MigrationsPending(Struct):
    """The database lacks migrations of this version."""

    status: Literal["unavailable"]
    reason: Literal["migrations_pending"]
    pending: Annotated[tuple[str, ...], Meta(min_length=1)]


INSTALLATION = Query[Installation]("health/installation")


async def get_installation(db: Executor) -> Installation | None:
    """Return the row that identifies this installation."""
    return await INSTALLATION.first(db)


async def get_details(
    settings: Settings, pool: Pool, readiness: Readiness, lifecycle: Lifecycle
) -> Details:
    """Return the report on this instance."""
    result = await readiness.check()
    installation, missing = None, result.reason
    if result.status != "unavailable":
        try:
            work = get_installation(pool)
            installation = await run_with_timeout(settings.readiness_timeout, work)
            missing = None
        except Exception as error:  # noqa: BLE001 - the report is for when something is wrong
            result, missing = readiness.latest, connect_reason_of(error)
    return Details(
        status=result.status,
        reason=result.reason,
        version=__version__,
        environment=settings.environment,
        uptime_seconds=round(time.monotonic() - lifecycle.started, 3),
        installation=installation,
        installation_reason=missing,
        transitions=[Change(*transition) for transition in readiness.history.transitions],
        process=Process(_memory(), round(await loop_lag() * 1000, 3), dropped_lines()),
        components=Components(_database(pool, result)),
    )


async def loop_lag() -> float:
    """Return how long one turn of the event loop takes now, in seconds."""
    started = time.perf_counter()
    await asyncio.sleep(0)
    return time.perf_counter() - started


def _memory() -> int | None:
    """Return the resident memory in bytes, where the system tells it as Linux does."""
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    except OSError:
        return None
    return int(pages) * resource.getpagesize()


def _database(pool: Pool, result: Result) -> Database:
    size, idle = pool.get_size(), pool.get_idle_size()
    return Database(
        status=result.status,
        reason=result.reason,
        cause=None if result.cause is None else result.cause.partition(":")[0],
        latency_ms=None if result.latency is None else round(result.latency * 1000, 3),
        server_version=result.server_version,
        age_seconds=round(time.monotonic() - result.checked_at, 3),
        pool=Connections(size, idle, size - idle, pool.get_max_size()),
        migrations=Migrations(result.applied, result.pending, result.unknown),
    )
