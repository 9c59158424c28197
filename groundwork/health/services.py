"""Details about this instance: results, no HTTP."""

import time
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct
from prometheus_client import REGISTRY

from groundwork import __version__
from groundwork.core.database import Pool
from groundwork.core.database.errors import connect_reason_of
from groundwork.core.database.queries import Query
from groundwork.core.environment import ENVIRONMENTS
from groundwork.core.observability.metrics import LOG_LINES_DROPPED
from groundwork.core.readiness.result import Change, Reason, Result, Status
from groundwork.core.state import State
from groundwork.core.structs import DateTime
from groundwork.core.tasks import run_with_timeout

type Count = Annotated[int, Meta(ge=0)]
type Number = Annotated[float, Meta(ge=0)]


class Installation(Struct):
    """The row that identifies this installation."""

    id: UUID
    created_at: DateTime
    updated_at: DateTime


class Process(Struct):
    """The process; its memory is null where the system does not report it."""

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
    """Names of migrations; `unknown` are applied, but not part of this version."""

    applied: tuple[str, ...]
    pending: tuple[str, ...]
    unknown: tuple[str, ...]


class Database(Struct):
    """The last readiness check; `cause` is the class of its error, whose text is in the log."""

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
    """The report on this instance; `installation_reason`: why the installation is null, if so."""

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


INSTALLATION = Query[Installation]("health/installation")


async def get_details(state: State) -> Details:
    """Return the report on this instance."""
    settings, pool, readiness = state["settings"], state["pool"], state["readiness"]
    result = await readiness.check()
    installation, missing = None, result.reason
    if result.status != "unavailable":
        try:
            work = INSTALLATION.first(pool)
            installation = await run_with_timeout(settings.readiness_timeout, work)
            missing = None
        except Exception as error:  # noqa: BLE001 - the report is for when something is wrong
            result, missing = readiness.history.latest, connect_reason_of(error)
    memory = REGISTRY.get_sample_value("process_resident_memory_bytes")
    lag = round(readiness.loop_monitor.lags[-1] * 1000, 3)
    (dropped,) = LOG_LINES_DROPPED.collect()
    return Details(
        status=result.status,
        reason=result.reason,
        version=__version__,
        environment=settings.environment,
        uptime_seconds=round(time.monotonic() - state["lifecycle"].started, 3),
        installation=installation,
        installation_reason=missing,
        transitions=[*readiness.history.transitions],
        process=Process(int(memory) if memory else None, lag, int(dropped.samples[0].value)),
        components=Components(_database(pool, result)),
    )


def _database(pool: Pool, result: Result) -> Database:
    size, idle = pool.get_size(), pool.get_idle_size()
    return Database(
        status=result.status,
        reason=result.reason,
        cause=None if result.cause is None else result.cause.partition(":")[0],
        latency_ms=None if result.latency is None else round(result.latency * 1000, 3),
        server_version=result.server_version,
        age_seconds=round(time.monotonic() - result.checked_at, 3),
        pool=Connections(size, idle, size - idle, pool.max_size),
        migrations=Migrations(result.applied, result.pending, result.unknown),
    )
