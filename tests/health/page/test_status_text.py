"""The words of the status page."""

from typing import Any

import pytest

from groundwork.core.readiness.result import REASONS
from groundwork.health.page.status_text import (
    components,
    database_text,
    duration,
    migrations_text,
    milliseconds,
    words,
)
from groundwork.health.services import Details
from tests.factories.details import make_details as make


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_its_words(reason: str) -> None:
    """Each reason has a summary of its own, and each but a startup or shutdown says what to do."""
    found = words("unavailable", reason)

    assert found.keys() == {"state", "summary", "action", "database", "kind", "icon"}
    assert all(found[key] for key in found.keys() - {"action"})
    assert found["summary"] != words("unavailable", None)["summary"]
    assert bool(found["action"]) == (reason not in {"ok", "starting", "draining"})


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        ("ok", None, ("up", "ok")),
        ("degraded", "pool_saturated", ("degraded", "degraded")),
        ("degraded", "database_rejected", ("degraded", "degraded")),
        ("unavailable", "database_timeout", ("down", "unavailable")),
        ("unavailable", "draining", ("shutting down", "draining")),
        ("unavailable", "starting", ("starting", "unknown")),
        ("unavailable", "a_reason_without_words", ("down", "unavailable")),
    ],
)
def test_the_status_decides_unless_the_reason_does(
    status: str, reason: str | None, expected: tuple[str, str]
) -> None:
    """State and kind are those of the status; startup and shutdown have their own."""
    found = words(status, reason)

    assert (found["state"], found["kind"]) == expected


FULL: dict[str, Any] = {"pool": {"size": 4, "idle": 0, "in_use": 4, "max": 4}}
DOWN: dict[str, Any] = {"latency_ms": None, "server_version": None}
NEW: dict[str, Any] = {"migrations": {"applied": [], "pending": ["1"], "unknown": []}}
NONE: dict[str, Any] = {"migrations": {"applied": [], "pending": [], "unknown": []}}
SOME: dict[str, Any] = {
    "migrations": {"applied": ["1"], "pending": ["2", "3"], "unknown": ["8", "9"]}
}


@pytest.mark.parametrize(
    ("given", "name", "state", "kind"),
    [
        (make(), "database", "ok", "ok"),
        (make("degraded", "pool_saturated"), "database", "ok", "ok"),
        (
            make("degraded", "database_rejected"),
            "database",
            "rejects connections",
            "degraded",
        ),
        (
            make("unavailable", "database_timeout"),
            "database",
            "not responding",
            "unavailable",
        ),
        (make("unavailable", "database_read_only"), "database", "read-only", "unavailable"),
        (make("unavailable", "migrations_pending"), "database", "ok", "ok"),
        (make("unavailable", "draining"), "database", "not checked", "unknown"),
        (make("unavailable", "starting"), "database", "not checked", "unknown"),
        (make(), "pool", "ok", "ok"),
        (make(**FULL), "pool", "saturated", "degraded"),
        (make("unavailable", "database_unreachable", **DOWN), "pool", "unknown", "unknown"),
        (make(**FULL, **DOWN), "pool", "unknown", "unknown"),
        (make(), "migrations", "ok", "ok"),
        (make(**SOME), "migrations", "pending", "unavailable"),
        (make(**NEW), "migrations", "pending", "unavailable"),
        (make(**NONE), "migrations", "unknown", "unknown"),
        (make(), "log", "ok", "ok"),
        (make(dropped=7), "log", "has dropped lines", "degraded"),
    ],
)
def test_components_have_a_state(given: Details, name: str, state: str, kind: str) -> None:
    """Each component has a state of its own, and a kind that gives its shape and colour."""
    found = components(given)

    assert (found[name], found[f"{name}_kind"]) == (state, kind)


@pytest.mark.parametrize(
    ("given", "text"), [(make(), "0.812 ms, PostgreSQL 18.1"), (make(**DOWN), "")]
)
def test_the_database_has_a_text(given: Details, text: str) -> None:
    """It has the latency and the version, if they are known."""
    assert database_text(given.components.database) == text


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (make(), "1 applied"),
        (make(**SOME), "1 applied; pending: 2, 3; unknown to this release: 8, 9"),
        (make(**NONE), ""),
    ],
)
def test_migrations_have_a_text(given: Details, text: str) -> None:
    """It names the migrations that need attention."""
    assert migrations_text(given.components.database.migrations) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 ms"), (0.000_412_3, "0.412 ms"), (0.012_34, "12.3 ms"), (1.2345, "1,230 ms")],
)
def test_times_have_three_digits(seconds: float, text: str) -> None:
    """A time is in milliseconds, however long it is."""
    assert milliseconds(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0:00:00"), (0.5, "0:00:00"), (125.9, "0:02:05"), (273_840, "3 days, 4:04:00")],
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    """A duration has days, hours, minutes and seconds, and is never negative."""
    assert duration(seconds) == text
