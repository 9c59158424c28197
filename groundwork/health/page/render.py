"""The status page: words and figures put into page.html."""

import time
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from groundwork.core.http.html import Html, drop, fill
from groundwork.core.readiness.result import Sample
from groundwork.health.page import plot
from groundwork.health.page.status_text import (
    HEADLINES,
    REASONS,
    SUMMARIES,
    components,
    duration,
    label,
)

_TRANSITIONS = 8  # of the 20 that are kept
# Of the favicon, on any background; the title says the same in words.
_COLOURS = {"ok": "#2e9e66", "degraded": "#c98a10", "unavailable": "#d8453a"}
_GREY = "#6b7a90"

# Each kind of state has a shape of its own in page.html: colour alone tells some people nothing.
_MARK = '<svg class="mark $kind" aria-hidden="true"><use href="#$kind"/></svg>'
_STATE = (
    '<div id="state" class="$kind" role="status">'
    f"{_MARK}<h1>$headline</h1><p>$what</p><p>$cure</p></div>"
)
_TRANSITION = (
    f'<li>{_MARK}<div><strong>$word</strong> for $lasted</div><time datetime="$iso">$at</time></li>'
)


@cache
def template() -> str:
    """Return page.html."""
    return Path(__file__).with_name("page.html").read_text("utf-8")


def render_state(app_name: str, status: str, *, guarded: bool) -> str:
    """Return the page for everybody: whether the service is up, and nothing else.

    Args:
        app_name: what the service calls itself.
        status: of the readiness result.
        guarded: a token would show the figures, so the page offers to ask for it.
    """
    page = drop(template(), "figures")
    page = page if guarded else drop(page, "guarded")
    return fill(page, **_frame(app_name, status, HEADLINES[status], SUMMARIES[status]))


def render(app_name: str, report: dict[str, Any], history: Collection[Sample]) -> str:
    """Return the whole page.

    Args:
        app_name: what the service calls itself.
        report: what get_details returns.
        history: the checks to plot.
    """
    status, reason, now = report["status"], report["reason"], time.monotonic()
    headline = HEADLINES.get(reason, HEADLINES[status])
    what = REASONS.get(reason, (SUMMARIES[status],))
    page = drop(template(), "guarded")
    page = page if report["environment"] == "development" else drop(page, "newcomer")
    return fill(
        page,
        **_frame(app_name, _kind(status, reason), headline, *what),
        **_components(report),
        plot=Html(plot.draw(history, now)),
        summary=plot.summary(history, now),
        transitions=Html("".join(_transitions(report["transitions"]))),
        version=report["version"],
        environment=report["environment"],
        uptime=duration(report["uptime_seconds"]),
    )


def _frame(app_name: str, kind: str, headline: str, what: str, cure: str = "") -> dict[str, object]:
    """Return what both pages have: the state, and the one to show when the service is gone."""
    title = f"{app_name} {headline}"
    lost = fill(
        _STATE,
        kind="unknown",
        headline=f"{app_name} does not answer",
        what="This page cannot reach the service. What else it shows is what it was last told.",
        cure="It keeps asking.",
    )
    return {
        "title": title,
        "colour": _COLOURS.get(kind, _GREY),
        "state": fill(_STATE, kind=kind, headline=title, what=what, cure=cure),
        "lost": lost,
        "now": f"{datetime.now(UTC):%H:%M:%S} UTC",
    }


def _components(report: dict[str, Any]) -> dict[str, object]:
    pool = report["components"]["database"]["pool"]
    values: dict[str, object] = {
        "pool_open": 100 * pool["size"] // pool["max"],
        "pool_in_use": 100 * pool["in_use"] // pool["max"],
    }
    for name, part in components(report).items():
        values[f"{name}_state"] = fill(f"{_MARK} $word", kind=part.kind, word=part.word)
        values[f"{name}_figures"] = part.figures
    return values


def _transitions(transitions: list[dict[str, Any]]) -> Iterator[Html]:
    """Give the latest first: it holds still. Each knows how long the one before it held."""
    lasted = None
    for transition in reversed(transitions[-_TRANSITIONS:]):
        at, status, reason = (transition[key] for key in ("at", "status", "reason"))
        if lasted is None:
            lasted = (datetime.now(UTC) - at).total_seconds()
        yield fill(
            _TRANSITION,
            kind=_kind(status, reason),
            word=label(status, reason),
            lasted=duration(lasted),
            iso=at.isoformat(timespec="seconds"),
            at=f"{at:%-d %b %H:%M:%S}",
        )
        lasted = transition["lasted_seconds"]


def _kind(status: str, reason: str | None) -> str:
    """Return the shape and colour: neither a stop nor a start is a fault."""
    return {"draining": "draining", "starting": "unknown"}.get(reason or "", status)
