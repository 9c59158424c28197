"""Fill the templates of the status page, and draw the plot of the latency of the database."""

import math
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from msgspec.structs import asdict

from groundwork.core.http.html import Html, fill
from groundwork.core.observability.recent import Activity, QueryTimes
from groundwork.core.readiness.result import Change, Result
from groundwork.health.page import status_text
from groundwork.health.services import Details

_NEXT_STEP = "To build on this service, see “Add a feature” in README.md."
_WINDOW_SECONDS = 600


@cache
def template(name: str) -> str:
    """Return a file of this folder."""
    return Path(__file__).with_name(name).read_text("utf-8")


def render_public(app_name: str, status: str, *, has_token: bool) -> Html:
    """Return the page for everyone: the status, and a link to the details if a token opens them."""
    return _render(app_name, status, None, Html(template("public.html") if has_token else ""))


def render(app_name: str, details: Details, results: Iterable[Result], activity: Activity) -> Html:
    """Return the page for operators, with the checks and the activity of the last ten minutes."""
    now, database = time.monotonic(), details.components.database
    checks = [one for one in results if now - one.checked_at <= _WINDOW_SECONDS]
    latencies = [one.latency for one in checks if one.latency is not None]
    curve, failures = draw(checks, now)
    rate, errors, queries = activity
    main = fill(
        template("details.html"),
        **status_text.components(details),
        database_text=status_text.database_text(database),
        **asdict(database.pool),
        migrations_text=status_text.migrations_text(database.migrations),
        dropped=details.process.log_lines_dropped,
        uptime=status_text.duration(details.uptime_seconds),
        version=details.version,
        environment=details.environment,
        next_step=_NEXT_STEP if details.environment == "development" else "",
        rate=f"{rate:.1f}",
        errors=f"{errors:,}",
        checks=len(checks),
        failed=len(checks) - len(latencies),
        slowest=status_text.milliseconds(max(latencies)) if latencies else "none",
        curve=curve,
        failures=failures,
        queries=Html("".join(_queries(queries))),
        transitions=Html("".join(_transitions(details.transitions))),
    )
    return _render(app_name, details.status, details.reason, main, database.cause or "")


def _render(app_name: str, status: str, reason: str | None, main: Html, cause: str = "") -> Html:
    return fill(
        template("page.html"),
        **status_text.words(status, reason),
        app_name=app_name,
        cause=f"Cause: {cause}" if cause else "",
        main=main,
        now=f"{datetime.now(UTC):%H:%M:%S} UTC",
    )


def _queries(queries: list[QueryTimes]) -> Iterator[Html]:
    for bound, mean, calls, name in queries:
        yield fill(
            template("query.html"),
            name=name,
            calls=f"{calls:,}",
            mean=status_text.milliseconds(mean),
            slowest="> 10 s" if bound == math.inf else f"≤ {status_text.milliseconds(bound)}",
        )


def _transitions(transitions: list[Change]) -> Iterator[Html]:
    """Yield the latest eight, newest first, each with how long it lasted."""
    until = datetime.now(UTC)
    for change in reversed(transitions[-8:]):
        yield fill(
            template("transition.html"),
            **status_text.words(change.status, change.reason),
            reason=f" ({change.reason.replace('_', ' ')})" if change.reason else "",
            lasted=status_text.duration((until - change.at).total_seconds()),
            iso=change.at.isoformat(timespec="seconds"),
            at=f"{change.at:%-d %b %H:%M:%S}",
        )
        until = change.at


def draw(results: Iterable[Result], now: float) -> tuple[str, str]:
    """Return two paths for a box of 600 by 100 that ends at `now`: latencies and failed checks.

    A check ends within a second, so a logarithmic axis from 0.1 ms to 1 s holds all of them.
    """
    curve, failures, command = "", "", "M"
    for result in results:
        x = f"{_WINDOW_SECONDS - (now - result.checked_at):.1f}"
        if result.latency is None:
            failures += f"M{x} 0v100"
            command = "M"
        else:
            y = 100 - 25 * min(math.log10(max(result.latency, 0.0001) / 0.0001), 4)
            curve += f"{command}{x} {y:.1f}h0"
            command = "L"
    return curve, failures
