"""GET /: the status page."""

import base64
import dataclasses
import hashlib
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from html import unescape
from typing import Any

import httpx
import pytest

from groundwork import __version__
from groundwork.core.config import Settings
from groundwork.core.database.connections import migration_ids
from groundwork.core.readiness.result import Sample
from groundwork.health.page.render import render
from groundwork.health.page.status_text import HEADLINES, REASONS
from tests.conftest import Serving

TOKEN = "a-token-for-the-operators"
BASIC = base64.b64encode(f"anybody:{TOKEN}".encode()).decode()
PRODUCTION = {"environment": "production", "app_name": "Yard"}
GUARDED = PRODUCTION | {"ops_token": TOKEN}
OK = {"status": "ok", "reason": None}


@pytest.fixture
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """Give development's settings, with what the test's parameter changes."""
    return dataclasses.replace(settings, **getattr(request, "param", {}))


@pytest.fixture
def tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run where local time is nine hours ahead."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "JST-9")
        time.tzset()
        yield
    time.tzset()


def text(html: str) -> str:
    """Return what a person reads of a page."""
    body = re.sub(r"<(style|script|template|title)\b.*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def report(status: str, reason: str | None) -> dict[str, Any]:
    """Return what get_details would, of an instance in this state."""
    transition = {"at": datetime.now(UTC), "previous": "ok", "lasted_seconds": 61.0}
    return {
        "status": status,
        "reason": reason,
        "version": __version__,
        "environment": "production",
        "uptime_seconds": 90061.0,
        "transitions": [transition | OK, transition | {"status": status, "reason": reason}],
        "process": {"log_lines_dropped": 0},
        "components": {
            "database": {
                "reason": reason,
                "latency_ms": None,
                "server_version": None,
                "pool": {"size": 13, "idle": 3, "in_use": 10, "max": 15},
                "migrations": {"applied": [], "pending": ["0003.<b>"], "unknown": []},
            }
        },
    }


def test_page_brings_what_it_says_when_the_service_is_gone() -> None:
    """Whatever the state is, the page knows by itself how to tell that nobody answers."""
    page = render("Yard", report("ok", None), [Sample(time.monotonic(), 0.001)])

    found = re.search(r'<template id="lost">(.*?)</template>', page, re.DOTALL)
    assert found is not None
    assert '<div id="state" class="unknown" role="status">' in found[1]
    assert '<use href="#unknown"/>' in found[1]
    assert text(found[1]) == (
        "Yard does not answer This page cannot reach the service. What else it shows is what it "
        "was last told. It keeps asking."
    )
    assert '<svg class="plot"' in page
    summary = "1 check in the last 10 minutes, none failed. Median 1 ms, slowest 1 ms."
    assert f'<p class="note">{summary}' in page


async def test_page_shows_the_figures(client: httpx.AsyncClient) -> None:
    """In development it has the state, the components, and how this instance is."""
    response = await client.get("/")

    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    page = text(response.text)
    assert page.startswith("Groundwork is up It takes requests.")
    assert f"Version {__version__} Environment development" in page
    assert "Database answers" in page
    assert "Pool has room 0 in use, 1 idle, 1 at most" in page
    assert f"Migrations applied {len(migration_ids())} applied" in page
    assert "1 check in the last 10 minutes, none failed." in page


async def test_page_shows_a_newcomer_the_next_step(client: httpx.AsyncClient) -> None:
    """In development it says where to read on and how to build on it."""
    page = (await client.get("/")).text

    links = re.findall(r'<a href="(.*?)"', page)
    assert links == ["docs", "health/details", "metrics"]
    assert "“Add a feature” in README.md" in text(page)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("degraded", "pool_saturated"),
        *(("unavailable", reason) for reason in REASONS if reason != "pool_saturated"),
    ],
)
def test_page_says_what_is_the_matter(status: str, reason: str) -> None:
    """Each reason is in plain words, with what to do, and a shape of its own beside it."""
    page = render("Yard", report(status, reason), [])

    headline = f"Yard {HEADLINES.get(reason, HEADLINES[status])}"
    assert text(page).startswith(" ".join((headline, *REASONS[reason])))
    assert f"<title>{headline}</title>" in page
    shape = {"draining": "draining", "starting": "unknown"}.get(reason, status)
    assert re.findall(r'<div id="state" class="(\w+)"', page) == [shape, "unknown"]
    assert re.findall(r'<li><svg class="mark (\w+)"', page) == [shape, "ok"]


def test_page_has_a_timeline() -> None:
    """The latest state comes first; each is told with how long it held."""
    given = report("unavailable", "database_timeout")
    given["transitions"][0]["at"] = datetime(2026, 11, 2, 3, 4, 5, tzinfo=UTC)
    page = render("Yard", given, [])

    assert re.search(
        r"Lately .* down: database timeout for less than 1 s \d+ \w+ [\d:]{8}"
        r" up for 1 min 1 s 2 Nov 03:04:05 Where",
        text(page),
    )
    assert '<time datetime="2026-11-02T03:04:05+00:00">' in page
    assert "Running for 1 d 1 h" in text(page)


def test_page_shows_the_latest_changes_alone() -> None:
    """Of a long timeline it has the end."""
    given = report("degraded", "pool_saturated")
    given["transitions"][:0] = [given["transitions"][0]] * 18
    page = render("Yard", given, [])

    assert re.findall(r'<li><svg class="mark (\w+)"', page) == ["degraded", *["ok"] * 7]


@pytest.mark.usefixtures("tokyo")
def test_page_tells_the_time_in_utc() -> None:
    """Wherever the machine is, the page's clock is UTC."""
    before = datetime.now(UTC)
    page = render("Yard", report("ok", None), [])

    (told,) = re.findall(r"As of (.*?) UTC;", page)
    assert told in {f"{when:%H:%M:%S}" for when in (before, datetime.now(UTC))}


def test_icon_tells_how_it_is() -> None:
    """Among a browser's tabs the colour of the icon tells up, busy, down and stopping apart."""
    states = [
        ("ok", None),
        ("degraded", "pool_saturated"),
        ("unavailable", "database_timeout"),
        ("unavailable", "draining"),
    ]
    pages = "".join(render("Yard", report(*state), []) for state in states)

    icons = re.findall(r"fill='(#[0-9a-f]{6})'", pages)
    assert len(set(icons)) == len(states)


def test_components_have_their_shapes() -> None:
    """Each component has the shape of its own state, not of the whole."""
    page = render("Yard", report("unavailable", "migrations_pending"), [])

    shapes = re.findall(r'<td><svg class="mark (\w+)"', page)
    assert shapes == ["ok", "ok", "unavailable", "ok"]


def test_page_draws_the_pool() -> None:
    """A bar has the share of the connections in use, and of those open."""
    page = render("Yard", report("unavailable", "migrations_pending"), [])

    assert 'class="open" width="86%"' in page
    assert 'class="used" width="66%"' in page
    assert "pending: 0003.<b>" in text(page)
    assert "0003.<b>" not in page


@pytest.mark.parametrize(
    "settings",
    [{"app_name": "<script>&\"'"}, GUARDED | {"app_name": "<script>&\"'"}],
    indirect=True,
)
async def test_page_escapes_the_name(client: httpx.AsyncClient) -> None:
    """A name is text, whatever it holds."""
    page = (await client.get("/")).text

    assert "&lt;script&gt;&amp;&quot;&#x27; is up" in page
    assert page.count("<script>") == 1


@pytest.mark.parametrize("settings", [PRODUCTION, GUARDED], indirect=True)
@pytest.mark.parametrize("authorization", ["", "Bearer wrong"])
async def test_page_shows_the_state_alone(
    client: httpx.AsyncClient, settings: Settings, authorization: str
) -> None:
    """Without the token it says whether the service is up, and nothing else."""
    response = await client.get("/", headers={"Authorization": authorization})

    assert response.status_code == 200
    assert '<div id="state" class="ok"' in response.text
    words = re.sub(r"[\d:]{8}", "TIME", text(response.text))
    offer = " Show the figures : any name, and OPS_TOKEN for a password."
    assert words == "Yard is up It takes requests. As of TIME UTC; asks again by itself." + (
        offer if settings.ops_token else ""
    )


@pytest.mark.parametrize("settings", [GUARDED], indirect=True)
@pytest.mark.parametrize("authorization", [f"Bearer {TOKEN}", f"Basic {BASIC}"])
@pytest.mark.parametrize("path", ["/", "/?figures"])
async def test_page_opens_with_the_token(
    client: httpx.AsyncClient, authorization: str, path: str
) -> None:
    """The token shows the figures, and nobody in production is told how to build on it."""
    response = await client.get(path, headers={"Authorization": authorization})

    page = text(response.text)
    assert f"Version {__version__}" in page
    assert "Add a feature" not in page
    assert "Show the figures" not in page


@pytest.mark.parametrize(
    ("settings", "status"), [(PRODUCTION, 404), (GUARDED, 401), ({}, 200)], indirect=["settings"]
)
async def test_page_lets_a_browser_ask_for_the_token(
    client: httpx.AsyncClient, status: int
) -> None:
    """/?figures is refused as the details are, so that a browser asks."""
    response = await client.get("/?figures")

    assert response.status_code == status
    assert response.headers.get("www-authenticate", "Basic").startswith("Basic")


async def test_page_runs_nothing_but_its_own(client: httpx.AsyncClient) -> None:
    """The policy lets its style and script run, its icon show, itself be fetched; no more."""
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


async def test_page_needs_nobody_else(client: httpx.AsyncClient) -> None:
    """It names no address but its own service's, and an inline icon."""
    page = (await client.get("/")).text

    targets = re.findall(r'(?:src|href|action)="(.*?)"|url\((.*?)\)|@import', page)
    kinds = {re.split(r"[:,]", target)[0] for target, _ in targets if not target.startswith("#")}
    assert kinds == {"data", "docs", "health/details", "metrics"}


async def test_page_answers_head(client: httpx.AsyncClient) -> None:
    """HEAD is answered as GET is."""
    response = await client.head("/")

    assert response.status_code == 200
    assert "content-security-policy" in response.headers


async def test_page_while_the_database_is_down(serving: Serving) -> None:
    """It tells of an outage with 200, within readiness' own time: it is for people."""
    async with serving("postgresql://nobody@127.0.0.1:1/nothing") as client:
        started = time.monotonic()
        response = await client.get("/")
        seconds = time.monotonic() - started

    assert response.status_code == 200
    assert text(response.text).startswith("Groundwork is down The database is down")
    assert seconds < 1.2  # 0.9 and some for a noisy machine
