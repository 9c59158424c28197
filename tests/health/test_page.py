"""GET /: the status page."""

import base64
import dataclasses
import hashlib
import re
import time
from datetime import UTC, datetime
from html import unescape
from typing import Any

import httpx
import pytest

from groundwork import __version__
from groundwork.core.config import Settings
from groundwork.core.database import migration_ids
from groundwork.core.result import Sample
from groundwork.health.page import render
from groundwork.health.words import HEADLINES, REASONS
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
                "pool": {"size": 5, "idle": 2, "in_use": 3, "max": 10},
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
    assert "1 check in the last 10 minutes, none failed. Median 1 ms, slowest 1 ms." in text(page)


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
    assert 'href="#ok"' in page  # the one before, in the timeline
    shape = {"draining": "draining", "starting": "unknown"}.get(reason, status)
    assert f'<div id="state" class="{shape}"' in page


def test_page_has_a_timeline() -> None:
    """The latest state comes first; each is told with how long it held."""
    page = text(render("Yard", report("unavailable", "database_timeout"), []))

    assert "down: database timeout for less than 1 s" in page
    assert page.index("database timeout for") < page.index("up for 1 min 1 s")
    assert "Running for 1 d 1 h" in page


def test_page_draws_the_pool() -> None:
    """A bar has the share of the connections in use, and of those open."""
    page = render("Yard", report("unavailable", "migrations_pending"), [])

    assert 'class="open" width="50%"' in page
    assert 'class="used" width="30%"' in page
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
