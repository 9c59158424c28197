"""GET /: the status page."""

import base64
import hashlib
import math
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import urldefrag

import httpx
import pytest

from groundwork import __version__
from groundwork.core.config import Settings
from groundwork.core.database.migration_files import migration_ids
from groundwork.core.observability.recent import Activity, QueryTimes
from groundwork.core.readiness.result import REASONS, Result
from groundwork.health.page import render as module
from groundwork.health.page.status_text import words
from tests.conftest import Serving
from tests.factories.details import make_details

TOKEN = "a-token-for-the-operators"
BASIC = base64.b64encode(f"anybody:{TOKEN}".encode()).decode()
PRODUCTION = {"environment": "production", "app_name": "Yard"}
GUARDED = PRODUCTION | {"ops_token": TOKEN}
OK = {"status": "ok", "reason": None}
PENDING = {"applied": ["0001.a"], "pending": ["0003.<b>"], "unknown": []}


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set a time zone that is nine hours ahead of UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "JST-9")
        time.tzset()
        yield
    time.tzset()


def text(html: str) -> str:
    """Return the text of a page."""
    body = re.sub(r"<(style|script|template|title)\b.*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def render(
    status: str = "ok",
    reason: str | None = None,
    activity: Activity = (0.0, 0, []),
    **changes: Any,
) -> str:
    """Return the page of an instance that was up for 61.5 s, and then in this state."""
    now = datetime.now(UTC)
    transitions = [
        OK | {"at": now - timedelta(seconds=61.5)},
        {"at": now, "status": status, "reason": reason},
    ]
    details = make_details(status, reason, **{"transitions": transitions} | changes)
    return module.render("Yard", details, [], activity)


def test_page_contains_what_it_says_when_the_service_is_gone() -> None:
    """The page needs no response to say that there is none."""
    found = re.search(r'<template id="lost">(.*?)</template>', render(), re.DOTALL)

    assert found is not None
    assert '<div id="state" class="unknown" role="status">' in found[1]
    assert '<use href="#unknown"/>' in found[1]
    assert text(found[1]) == (
        "Yard is not responding This page shows its last response. Retries automatically."
    )


def test_page_shows_the_checks() -> None:
    """The plot has the checks of the last ten minutes, and says them in words."""
    now, latencies = time.monotonic(), {3600: 0.9, 601: 0.9, 599: 0.001, 1: None}
    checks = [Result("ok", latency=one, checked_at=now - ago) for ago, one in latencies.items()]
    page = module.render("Yard", make_details(), checks, (0.0, 0, []))

    assert "Failed checks: 1 of 2; slowest: 1 ms." in text(page)
    assert re.search(r'class="failed" d="M599.0 0v100"', page)
    assert re.search(r'class="latency" d="M1.0 75.0h0"', page)


def test_page_shows_no_latency_of_failed_checks() -> None:
    """If all checks have failed, none of them is the slowest with 0 ms."""
    failed = Result("unavailable")

    assert "Failed checks: 1 of 1; slowest: none." in text(
        module.render("Yard", make_details(), [failed], (0.0, 0, []))
    )


def test_page_shows_recent_requests_and_queries() -> None:
    """It has the rate, the server errors, and the slowest queries with their durations."""
    queries = [QueryTimes(math.inf, 1.5, 1412, "<b>"), QueryTimes(0.05, 0.0021, 3, "notes/list")]
    page = text(render(activity=(23.44, 1812, queries)))

    assert "Requests, without probes 23.4 per second Server errors (5xx) 1,812" in page
    assert "<b> 1,412 1,500 ms > 10 s notes/list 3 2.1 ms ≤ 50 ms" in page


async def test_page_shows_the_details(client: httpx.AsyncClient) -> None:
    """In development it has the state, the components, and the instance."""
    response = await client.get("/")

    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    page = text(response.text)
    assert page.startswith("Groundwork is up It serves requests.")
    assert f"Version {__version__} Environment development" in page
    assert re.search(r"Database ok \S+ ms, PostgreSQL 1\d", page)
    assert "Connection pool ok 0 in use, 1 idle, 1 at most" in page
    assert f"Migrations ok {len(migration_ids())} applied" in page
    assert re.search(r"Log (ok Lines dropped: 0|has dropped lines Lines dropped: \d+)", page)
    assert "Failed checks: 0 of 1;" in page
    assert "health/installation 1 " in page


async def test_page_shows_a_developer_the_next_step(client: httpx.AsyncClient) -> None:
    """In development it links to what there is, and says how to build on it."""
    page = (await client.get("/")).text

    links = re.findall(r'<a href="(.*?)"', page)
    assert links == ["docs", "health/details", "metrics"]
    assert "“Add a feature” in README.md" in text(page)


@pytest.mark.parametrize("reason", REASONS[1:])
def test_page_says_what_is_wrong(reason: str) -> None:
    """Each reason is in plain words, with what to do, and with a shape."""
    status = "degraded" if reason == "pool_saturated" else "unavailable"
    page = render(status, reason)

    found = words(status, reason)
    headline = f"Yard is {found['state']}"
    assert text(page).startswith(f"{headline} {found['summary']} {found['action']}")
    assert f"<title>{headline}</title>" in page
    assert re.findall(r'<div id="state" class="(\w+)"', page) == [found["kind"], "unknown"]
    assert re.findall(r'<li><svg class="mark (\w+)"', page) == [found["kind"], "ok"]


def test_page_says_why() -> None:
    """Operators see the class of the error."""
    page = render("unavailable", "database_unreachable", cause="ConnectionRefusedError")

    assert "recovers by itself. Cause: ConnectionRefusedError Uptime" in text(page)


def test_page_has_a_timeline() -> None:
    """The latest state comes first; each has its time and how long it lasted."""
    began = datetime(2026, 11, 2, 3, 4, 5, 6, tzinfo=UTC)
    lost = {"status": "unavailable", "reason": "database_timeout"}
    page = render(transitions=[OK | {"at": began}, lost | {"at": began + timedelta(seconds=61.5)}])

    assert re.search(
        r"Recent changes .* down \(database timeout\) for [\d:, days]+ 2 Nov 03:05:06"
        r" up for 0:01:01 2 Nov 03:04:05 More",
        text(page),
    )
    assert '<time datetime="2026-11-02T03:04:05+00:00">' in page
    assert "Uptime 1 day, 1:01:01" in text(page)


def test_page_shows_the_latest_changes_only() -> None:
    """Of a long timeline it has the latest eight."""
    at = {"at": datetime.now(UTC)}
    busy = {"status": "degraded", "reason": "pool_saturated"}
    page = render(transitions=[OK | at] * 18 + [busy | at])

    assert re.findall(r'<li><svg class="mark (\w+)"', page) == ["degraded", *["ok"] * 7]


@pytest.mark.usefixtures("tokyo")
def test_page_has_its_time_in_utc() -> None:
    """Whatever the time zone of the machine, the page's clock is UTC."""
    before = datetime.now(UTC)
    page = render()

    (shown,) = re.findall(r"Updated at (.*?) UTC", page)
    assert shown in {f"{when:%H:%M:%S}" for when in (before, datetime.now(UTC))}


def test_icon_has_a_colour_per_state() -> None:
    """The colours for up, degraded, down and shutdown differ, also among a browser's tabs."""
    states = [
        ("ok", None),
        ("degraded", "pool_saturated"),
        ("unavailable", "database_timeout"),
        ("unavailable", "draining"),
    ]
    pages = "".join(render(*state) for state in states)

    icons = {urldefrag(unescape(url)).url for url in re.findall(r'"icon" href="(.*?)"', pages)}
    assert len(icons) == len(states)
    assert all(icon.endswith("</svg>") for icon in icons)  # in a URL # is where its fragment starts


def test_components_have_their_shapes() -> None:
    """Each component has the shape of its own state, not of the service's."""
    page = render("degraded", "database_rejected", latency_ms=None, migrations=PENDING)

    shapes = re.findall(r'</h3><p><svg class="mark (\w+)" aria-hidden="true"><use href="#\1"', page)
    assert shapes == ["degraded", "unknown", "unavailable", "ok"]


def test_page_draws_the_pool() -> None:
    """A bar has the share of the connections in use, and of those open."""
    page = render()

    assert 'viewBox="0 0 15 1" preserveAspectRatio="none"' in page
    assert '<rect class="open" width="13"/><rect class="used" width="10"/>' in page


def test_page_escapes_the_names_of_migrations() -> None:
    """A name is text, whatever it contains."""
    page = render("unavailable", "migrations_pending", migrations=PENDING)

    assert "pending: 0003.<b>" in text(page)
    assert "0003.<b>" not in page


@pytest.mark.parametrize(
    "settings",
    [{"app_name": "<script>&\"'"}, GUARDED | {"app_name": "<script>&\"'"}],
    indirect=True,
)
async def test_page_escapes_the_name(client: httpx.AsyncClient) -> None:
    """A name is text, whatever it contains."""
    page = (await client.get("/")).text

    assert "&lt;script&gt;&amp;&quot;&#x27; is up" in page
    assert page.count("<script>") == 1


@pytest.mark.parametrize("settings", [PRODUCTION, GUARDED], indirect=True)
@pytest.mark.parametrize("authorization", ["", "Bearer wrong"])
async def test_page_shows_the_public_the_state_only(
    client: httpx.AsyncClient, settings: Settings, authorization: str
) -> None:
    """Without the token it says whether the service is up, and nothing else."""
    response = await client.get("/", headers={"Authorization": authorization})

    assert response.status_code == 200
    assert '<div id="state" class="ok"' in response.text
    shown = re.sub(r"[\d:]{8}", "TIME", text(response.text))
    offer = "Show details with any user name, and OPS_TOKEN as the password. "
    assert shown == (
        f"Yard is up It serves requests. {offer if settings.ops_token else ''}"
        "Updated at TIME UTC. Refreshes automatically."
    )


@pytest.mark.parametrize("settings", [GUARDED], indirect=True)
@pytest.mark.parametrize("authorization", [f"Bearer {TOKEN}", f"Basic {BASIC}"])
@pytest.mark.parametrize("path", ["/", "/?details"])
async def test_page_opens_with_the_token(
    client: httpx.AsyncClient, authorization: str, path: str
) -> None:
    """The token shows the details, and production no hints for developers."""
    response = await client.get(path, headers={"Authorization": authorization})

    page = text(response.text)
    assert f"Version {__version__}" in page
    assert "Add a feature" not in page
    assert "Show details" not in page


@pytest.mark.parametrize(
    ("settings", "status"), [(PRODUCTION, 404), (GUARDED, 401), ({}, 200)], indirect=["settings"]
)
async def test_page_makes_a_browser_prompt_for_the_token(
    client: httpx.AsyncClient, status: int
) -> None:
    """/?details is 401 as the details are, so that a browser prompts for the token."""
    response = await client.get("/?details")

    assert response.status_code == status
    assert response.headers.get("www-authenticate", "Basic").startswith("Basic")


async def test_page_runs_only_its_own_script(client: httpx.AsyncClient) -> None:
    """The policy allows its style, its script, its icon and its refresh, and nothing else."""
    response = await client.get("/")

    policy = dict(
        rule.split(" ", 1) for rule in response.headers["content-security-policy"].split("; ")
    )
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}\b[^>]*>(.*?)</{tag}>", response.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy.pop(f"{tag}-src") == f"'sha256-{digest}'"
    assert (policy.pop("img-src"), policy.pop("connect-src")) == ("data:", "'self'")
    assert policy.keys() == {"default-src", "base-uri", "form-action", "frame-ancestors"}
    assert set(policy.values()) == {"'none'"}


async def test_page_loads_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    """It has no URL but those of its own service, and an inline icon."""
    page = (await client.get("/")).text

    targets = re.findall(r'(?:src|href|action)="(.*?)"|url\((.*?)\)|@import', page)
    kinds = {re.split(r"[:,]", target)[0] for target, _ in targets if not target.startswith("#")}
    assert kinds == {"data", "docs", "health/details", "metrics"}


async def test_page_supports_head(client: httpx.AsyncClient) -> None:
    """HEAD has the status code and headers of GET."""
    response = await client.head("/")

    assert response.status_code == 200
    assert "content-security-policy" in response.headers


async def test_page_while_the_database_is_down(serving: Serving) -> None:
    """It reports an outage with 200, as fast as readiness does, and says why."""
    async with serving("postgresql://nobody@127.0.0.1:1/nothing") as client:
        started = time.monotonic()
        response = await client.get("/")
        seconds = time.monotonic() - started

    assert response.status_code == 200
    assert text(response.text).startswith("Groundwork is down The database is down")
    assert "Cause: ConnectionRefusedError" in text(response.text)
    assert seconds < 0.9 + 2  # on a noisy machine
