"""The report in plain words."""

from typing import Any

import pytest

from groundwork.core.readiness.result import REASONS
from groundwork.health.page.status_text import REASONS as EXPLAINED
from groundwork.health.page.status_text import components, duration, label


def report(**changes: Any) -> dict[str, Any]:
    """Return the part of get_details that is about components."""
    database = {
        "status": "ok",
        "reason": None,
        "latency_ms": 0.812,
        "server_version": "18.1",
        "pool": {"size": 2, "idle": 1, "in_use": 1, "max": 4},
        "migrations": {"applied": ["0001.a"], "pending": [], "unknown": []},
    }
    lost = changes.pop("lost", 0)
    return {"components": {"database": database | changes}, "process": {"log_lines_dropped": lost}}


def test_every_reason_is_explained() -> None:
    """Whatever readiness may say, the page says what it means."""
    assert sorted(("ok", *EXPLAINED)) == sorted(REASONS)


@pytest.mark.parametrize(
    ("changes", "name", "expected"),
    [
        ({}, "database", ("ok", "answers", "0.812 ms, PostgreSQL 18.1")),
        ({"reason": "pool_saturated"}, "database", ("ok", "answers", "0.812 ms, PostgreSQL 18.1")),
        (
            {"reason": "database_timeout", "latency_ms": None},
            "database",
            ("unavailable", "silent", ""),
        ),
        (
            {"reason": "database_read_only"},
            "database",
            ("unavailable", "read-only", "0.812 ms, PostgreSQL 18.1"),
        ),
        ({"reason": "draining"}, "database", ("unknown", "not asked", "")),
        ({"reason": "starting"}, "database", ("unknown", "not asked", "")),
        ({}, "pool", ("ok", "has room", "1 in use, 1 idle, 4 at most")),
        (
            {"pool": {"size": 4, "idle": 0, "in_use": 4, "max": 4}},
            "pool",
            ("degraded", "full", "4 in use, 0 idle, 4 at most"),
        ),
        ({}, "migrations", ("ok", "applied", "1 applied")),
        (
            {"migrations": {"applied": ["1"], "pending": ["2", "3"], "unknown": ["8", "9"]}},
            "migrations",
            ("unavailable", "pending", "1 applied; pending: 2, 3; not known to this code: 8, 9"),
        ),
        (
            {"migrations": {"applied": [], "pending": [], "unknown": []}},
            "migrations",
            ("unknown", "not known", ""),
        ),
        ({}, "log", ("ok", "keeps up", "0 lines lost")),
        ({"lost": 7}, "log", ("degraded", "loses lines", "7 lines lost")),
    ],
)
def test_components_are_told_in_words(
    changes: dict[str, Any], name: str, expected: tuple[str, str, str]
) -> None:
    """Each part has a state, a word for it, and its figures."""
    assert components(report(**changes))[name] == expected


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "less than 1 s"),
        (0.5, "less than 1 s"),
        (59.9, "59 s"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (86_400, "1 d"),
        (273_840, "3 d 4 h"),
    ],
)
def test_durations_have_two_units(seconds: float, words: str) -> None:
    """A duration is told by its two largest units."""
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        ("ok", None, "up"),
        ("unavailable", "draining", "stopping"),
        ("unavailable", "database_timeout", "down: database timeout"),
    ],
)
def test_a_state_is_told_in_a_word(status: str, reason: str | None, words: str) -> None:
    """A reason is named unless it is no fault."""
    assert label(status, reason) == words
