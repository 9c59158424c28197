"""GET /metrics."""

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from groundwork import __version__
from groundwork.core.readiness.result import REASONS
from tests.conftest import Serving


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return each sample by name and labels, as Prometheus' own parser reads them."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def scrape(client: httpx.AsyncClient) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return the samples of one scrape."""
    return samples((await client.get("/metrics")).text)


async def test_requests_are_counted_by_route(client: httpx.AsyncClient) -> None:
    """A request is counted by method, route template and status code."""
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


async def test_a_series_has_no_other_for_its_age(client: httpx.AsyncClient) -> None:
    """prometheus-client would add a gauge to each counter and histogram, *_created."""
    assert [name for name, _ in await scrape(client) if name.endswith("_created")] == []


async def test_unknown_paths_and_methods_create_no_series(
    serving: Serving, database_url: str
) -> None:
    """Requests to unknown paths, or with unknown methods, add no time series."""
    async with serving(database_url) as client:
        await client.request("BREW", "/nowhere")
        await client.get("/nowhere"), await scrape(client)
        before = await scrape(client)
        for number in range(300):
            await client.get(f"/nowhere/{number}?{number}")
            await client.request(f"BREW{number}", f"/{number}")
        after = await scrape(client)

    added = after.keys() - before.keys()  # a background task may have run its first query
    assert [name for name, _ in added if name.startswith("http_")] == []


async def test_readiness_is_exported_by_reason(client: httpx.AsyncClient) -> None:
    """The current state is 1 and all others are 0; groundwork_ready agrees."""
    found = await scrape(client)

    states = {
        dict(labels)["reason"]: value
        for (name, labels), value in found.items()
        if name == "groundwork_readiness_state"
    }
    assert states == dict.fromkeys(REASONS, 0.0) | {"ok": 1.0}
    assert found["groundwork_ready", ()] == 1
    count = found["groundwork_readiness_check_duration_seconds_count", ()]
    assert count >= 1
    assert 0 < found["groundwork_readiness_check_duration_seconds_sum", ()] < 5 * count


async def test_the_content_type_is_prometheus_text_format(client: httpx.AsyncClient) -> None:
    """The content type is one that Prometheus accepts, and metrics must not be cached."""
    headers = (await client.get("/metrics")).headers

    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert headers["cache-control"] == "no-store"


async def test_an_outage_is_exported(serving: Serving) -> None:
    """During an outage groundwork_ready is 0, whatever the reason."""
    async with serving("postgresql://nobody@127.0.0.1:1/nothing") as client:
        found = await scrape(client)

    assert found["groundwork_ready", ()] == 0
    assert found["groundwork_readiness_state", (("reason", "database_unreachable"),)] == 1


async def test_the_process_is_exported(client: httpx.AsyncClient) -> None:
    """Metrics have the build, the memory of the process and the dropped log lines."""
    found = await scrape(client)

    build = (("environment", "development"), ("version", __version__))
    assert found["groundwork_build_info", build] == 1
    assert found["process_resident_memory_bytes", ()] > 0
    assert found["groundwork_log_lines_dropped_total", ()] >= 0


@pytest.mark.parametrize("settings", [{"environment": "production"}], indirect=True)
async def test_metrics_are_404_without_a_configured_token(client: httpx.AsyncClient) -> None:
    """Outside development, metrics return 404 if OPS_TOKEN is not set."""
    assert (await client.get("/metrics")).status_code == 404
