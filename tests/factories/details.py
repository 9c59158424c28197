"""What get_details returns."""

from typing import Any

from msgspec import convert

from groundwork import __version__
from groundwork.health.services import Details


def make_details(
    status: str = "ok",
    reason: str | None = None,
    *,
    dropped: int = 0,
    transitions: list[dict[str, Any]] | None = None,
    **database: Any,
) -> Details:
    """Return the details of an instance in production; overrides are of the database."""
    state = {"status": status, "reason": reason}
    healthy = {
        "cause": None,
        "latency_ms": 0.812,
        "server_version": "18.1",
        "age_seconds": 0,
        "pool": {"size": 13, "idle": 3, "in_use": 10, "max": 15},
        "migrations": {"applied": ["0001.a"], "pending": [], "unknown": []},
    }
    report = {
        "version": __version__,
        "environment": "production",
        "uptime_seconds": 90061,
        "installation": None,
        "installation_reason": None,
        "transitions": [
            {"previous": "ok", "lasted_seconds": 0} | change for change in transitions or []
        ],
        "process": {"memory_bytes": None, "event_loop_lag_ms": 0, "log_lines_dropped": dropped},
        "components": {"database": state | healthy | database},
    }
    return convert(state | report, Details)
