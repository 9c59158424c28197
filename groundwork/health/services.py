"""How is this instance doing? Results, no HTTP."""

import asyncio
import resource
import time
from pathlib import Path
from typing import Any

from groundwork import __version__
from groundwork.core.config import Settings
from groundwork.core.database.connections import ERRORS, Executor, Pool, sql
from groundwork.core.lifecycle import Lifecycle
from groundwork.core.observability.logging import dropped_lines
from groundwork.core.readiness.check import Readiness
from groundwork.core.readiness.result import Result
from groundwork.core.tasks import run_with_timeout


async def get_installation(executor: Executor) -> dict[str, Any] | None:
    """Return the row that names this installation: id, created_at, updated_at."""
    row = await executor.fetchrow(sql("health/installation"))
    return None if row is None else dict(row)


async def get_details(
    settings: Settings, pool: Pool, readiness: Readiness, lifecycle: Lifecycle
) -> dict[str, Any]:
    """Return what an operator asks first. The installation is None where it can't be read."""
    result = await readiness.check()
    installation = None
    if result.status != "unavailable":
        try:
            installation = await run_with_timeout(
                settings.readiness_timeout, get_installation(pool)
            )
        except ERRORS:
            result = readiness.latest
    return {
        "status": result.status,
        "reason": result.reason,
        "version": __version__,
        "environment": settings.environment,
        "uptime_seconds": round(time.monotonic() - lifecycle.started, 3),
        "installation": installation,
        "transitions": [transition._asdict() for transition in readiness.transitions],
        "process": {
            "memory_bytes": _memory(),
            "event_loop_lag_ms": round(await loop_lag() * 1000, 3),
            "log_lines_dropped": dropped_lines(),
        },
        "components": {"database": _database(pool, result)},
    }


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


def _database(pool: Pool, result: Result) -> dict[str, Any]:
    size, idle = pool.get_size(), pool.get_idle_size()
    return {
        "status": result.status,
        "reason": result.reason,
        "latency_ms": None if result.latency is None else round(result.latency * 1000, 3),
        "server_version": result.server_version,
        "age_seconds": round(time.monotonic() - result.checked_at, 3),
        "pool": {"size": size, "idle": idle, "in_use": size - idle, "max": pool.get_max_size()},
        "migrations": {
            "applied": result.applied,
            "pending": result.pending,
            "unknown": result.unknown,
        },
    }
