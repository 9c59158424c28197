"""The report in plain words: what is the matter, what to do, and how each component does."""

from typing import Any, NamedTuple

# How the headline goes on after the name of the service: by reason if it has one here.
HEADLINES = {
    "ok": "is up",
    "degraded": "is up, but busy",
    "unavailable": "is down",
    "draining": "is stopping",
    "starting": "is starting",
}

# What everybody may know.
SUMMARIES = {
    "ok": "It takes requests.",
    "degraded": "It takes requests, though some may have to wait.",
    "unavailable": "It takes no requests at the moment.",
}

# What is the matter, and what to do; the README's table says more.
REASONS = {
    "starting": (
        "The database has not been asked yet.",
        "Wait a moment.",
    ),
    "draining": (
        "It was told to stop, and serves on until the balancer has noticed.",
        "Nothing to do: it ends by itself.",
    ),
    "database_unreachable": (
        "The database is down, restarting, or refuses connections.",
        "Start it; the log has the cause. This service then recovers by itself.",
    ),
    "database_timeout": (
        "The database does not answer in time.",
        "Look at its load and its locks, then at the network between.",
    ),
    "database_rejected": (
        "The database refuses this service.",
        "The log has its words: a wrong password, role or name, or no connection slot left.",
    ),
    "database_read_only": (
        "The database takes no writes: it is a replica, or set to be read-only.",
        "Promote it, or name every host in DATABASE_URL with target_session_attrs=read-write.",
    ),
    "migrations_pending": (
        "The code brings migrations that the database lacks.",
        "Run: groundwork migrate",
    ),
    "pool_saturated": (
        "Every connection of the pool is in use, so requests wait for one.",
        "Look for slow statements, or raise DB_POOL_MAX_SIZE.",
    ),
}

# How a database that answers but does not do, or does not answer, is called.
_DATABASE_FAULTS = {
    "database_unreachable": "unreachable",
    "database_timeout": "silent",
    "database_rejected": "refuses",
    "database_read_only": "read-only",
}


class Component(NamedTuple):
    """A part of the service: ok, degraded, unavailable or unknown; a word for it; its figures."""

    kind: str
    word: str
    figures: str


def components(report: dict[str, Any]) -> dict[str, Component]:
    """Return the parts by name."""
    database, lost = report["components"]["database"], report["process"]["log_lines_dropped"]
    return {
        "database": _database(database),
        "pool": _pool(database["pool"]),
        "migrations": _migrations(database),
        "log": Component(
            *(("degraded", "loses lines") if lost else ("ok", "keeps up")), f"{lost} lines lost"
        ),
    }


def label(status: str, reason: str | None) -> str:
    """Return it for a list: up, stopping, down: database unreachable."""
    if reason is None or reason in HEADLINES:
        return HEADLINES[reason or status].removeprefix("is ")
    return f"{HEADLINES[status].removeprefix('is ')}: {reason.replace('_', ' ')}"


def milliseconds(seconds: float) -> str:
    """Return it with three digits: 0.412 ms, 12.3 ms."""
    return f"{seconds * 1000:.3g} ms"


def duration(seconds: float) -> str:
    """Return the two largest units of it: 3 d 4 h, 2 min 5 s."""
    parts, left = [], max(0, int(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "less than 1 s"


def _database(database: dict[str, Any]) -> Component:
    reason, latency = database["reason"], database["latency_ms"]
    if reason in {"starting", "draining"}:
        return Component("unknown", "not asked", "")
    figures = ""
    if latency is not None:
        figures = f"{milliseconds(latency / 1000)}, PostgreSQL {database['server_version']}"
    if reason in _DATABASE_FAULTS:
        return Component("unavailable", _DATABASE_FAULTS[reason], figures)
    return Component("ok", "answers", figures)


def _pool(pool: dict[str, int]) -> Component:
    figures = f"{pool['in_use']} in use, {pool['idle']} idle, {pool['max']} at most"
    if pool["in_use"] >= pool["max"]:
        return Component("degraded", "full", figures)
    return Component("ok", "has room", figures)


def _migrations(database: dict[str, Any]) -> Component:
    applied, pending, unknown = database["migrations"].values()
    figures = f"{len(applied)} applied"
    if pending:
        figures += f"; pending: {', '.join(pending)}"
    if unknown:
        figures += f"; not known to this code: {', '.join(unknown)}"
    if pending:
        return Component("unavailable", "pending", figures)
    if not applied:
        return Component("unknown", "not known", "")
    return Component("ok", "applied", figures)
