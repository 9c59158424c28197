"""The words of the status page."""

from datetime import timedelta
from functools import cache
from pathlib import Path

from msgspec import toml

from groundwork.health.services import Database, Details, Migrations


@cache
def words(status: str, reason: str | None) -> dict[str, str]:
    """Return what words.toml has for a status, and for a reason instead where it has that."""
    text = Path(__file__).with_name("words.toml").read_bytes()
    tables = toml.decode(text, type=dict[str, dict[str, str]])
    return tables[status] | tables.get(reason or "", {})


def components(details: Details) -> dict[str, str]:
    """Return the state of each component, and as NAME_kind its shape and colour."""
    database = details.components.database
    pool, migrations = database.pool, database.migrations
    states = {
        "database": words(details.status, details.reason)["database"],
        "pool": "saturated" if pool.in_use >= pool.max else "ok",
        "migrations": "pending" if migrations.pending else "ok",
        "log": "has dropped lines" if details.process.log_lines_dropped else "ok",
    }
    if database.latency_ms is None:  # connections to a lost database still count as idle
        states["pool"] = "unknown"
    if not (migrations.applied or migrations.pending):
        states["migrations"] = "unknown"
    kinds = {name: words(details.status, state)["kind"] for name, state in states.items()}
    return states | {f"{name}_kind": kind for name, kind in kinds.items()}


def database_text(database: Database) -> str:
    """Return the latency and the version, if the check found them."""
    if database.latency_ms is None:
        return ""
    return f"{milliseconds(database.latency_ms / 1000)}, PostgreSQL {database.server_version}"


def migrations_text(migrations: Migrations) -> str:
    """Return how many are applied, and the names of those that are pending or unknown."""
    texts = [f"{len(migrations.applied)} applied"] if migrations.applied else []
    lists = {"pending": migrations.pending, "unknown to this release": migrations.unknown}
    return "; ".join(texts + [f"{name}: {', '.join(ids)}" for name, ids in lists.items() if ids])


def milliseconds(seconds: float) -> str:
    """Return a time with three digits: 0.412 ms, 12.3 ms, 1,500 ms."""
    return f"{float(f'{seconds * 1000:.3g}'):,g} ms"


def duration(seconds: float) -> str:
    """Return a duration as 3 days, 4:04:00 or 0:02:05; a clock that was set back makes it 0."""
    return str(timedelta(seconds=max(0, int(seconds))))
