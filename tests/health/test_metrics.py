"""GET /metrics."""

import dataclasses

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from groundwork import __version__
from groundwork.core.config import Settings
from groundwork.core.readiness.result import REASONS
from tests.conftest import Serving


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return every sample by name and labels, as Prometheus' own parser reads them."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def scrape(client: httpx.AsyncClient) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return what Prometheus would see."""
    return samples((await client.get("/metrics")).text)


async def test_requests_are_counted_by_route(client: httpx.AsyncClient) -> None:
    """A request is counted and timed under its method, its route's template and its status."""
    labels = (
        ("http_request_method", "GET"),
        ("http_response_status_code", "200"),
        ("http_route", "/health/ready"),
    )
    count = ("http_server_request_duration_seconds_count", labels)
    await client.get("/health/ready")
    before = await scrape(client)
    for _ in range(3):
        await client.get("/health/ready")
    after = await scrape(client)

    assert after[count] - before[count] == 3


async def test_unknown_paths_and_methods_make_no_series(
    serving: Serving, database_url: str
) -> None:
    """Whatever is asked for, the number of series stays what it was."""
    async with serving(database_url) as client:
        await client.request("BREW", "/nowhere")
        await client.get("/nowhere"), await scrape(client)
        before = await scrape(client)
        for number in range(300):
            await client.get(f"/nowhere/{number}?{number}")
            await client.request(f"BREW{number}", f"/{number}")
        after = await scrape(client)

    assert after.keys() == before.keys()


async def test_readiness_is_told_by_reason(client: httpx.AsyncClient) -> None:
    """One state is 1, all others are 0, and ready says the same."""
    found = await scrape(client)

    states = {
        dict(labels)["reason"]: value
        for (name, labels), value in found.items()
        if name == "groundwork_readiness_state"
    }
    assert states == dict.fromkeys(REASONS, 0.0) | {"ok": 1.0}
    assert found["groundwork_ready", ()] == 1
    assert found["groundwork_readiness_check_duration_seconds_count", ()] >= 1


async def test_the_format_is_named(client: httpx.AsyncClient) -> None:
    """Prometheus refuses a scrape whose type it does not know; nobody may keep the figures."""
    headers = (await client.get("/metrics")).headers

    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert headers["cache-control"] == "no-store"


async def test_an_outage_is_told(serving: Serving) -> None:
    """While the database is down ready is 0, so an alert on it needs no list of reasons."""
    async with serving("postgresql://nobody@127.0.0.1:1/nothing") as client:
        found = await scrape(client)

    assert found["groundwork_ready", ()] == 0
    assert found["groundwork_readiness_state", (("reason", "database_unreachable"),)] == 1


async def test_the_process_is_told(client: httpx.AsyncClient) -> None:
    """A scrape has the build, the process' own metrics and the dropped log lines."""
    found = await scrape(client)

    build = (("environment", "development"), ("version", __version__))
    assert found["groundwork_build_info", build] == 1
    assert found["process_resident_memory_bytes", ()] > 0
    assert found["groundwork_log_lines_dropped_total", ()] >= 0


@pytest.fixture
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """Give development's settings, with what the test's parameter changes."""
    return dataclasses.replace(settings, **getattr(request, "param", {}))


@pytest.mark.parametrize("settings", [{"environment": "production"}], indirect=True)
async def test_metrics_hide_without_a_token_configured(client: httpx.AsyncClient) -> None:
    """Outside development they are guarded as the details are."""
    assert (await client.get("/metrics")).status_code == 404
