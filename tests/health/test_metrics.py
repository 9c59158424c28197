"""GET /metrics."""

import dataclasses

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from groundwork import __version__
from groundwork.core.config import Settings
from groundwork.core.result import REASONS
from tests.servers import serve


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


def test_requests_are_counted_by_route(database_url: str) -> None:
    """A request is counted and timed under its method, its route's template and its status."""
    with serve(DATABASE_URL=database_url) as server:
        for _ in range(3):
            server.get("/health/ready")
        found = samples(server.get("/metrics").text)

    labels = (("method", "GET"), ("route", "/health/ready"), ("status", "200"))
    assert found["groundwork_http_requests_total", labels] == 3
    assert found["groundwork_http_request_duration_seconds_count", labels] == 3
    assert found["groundwork_http_requests_in_flight", ()] == 1


def test_unknown_paths_and_methods_make_no_series(database_url: str) -> None:
    """Whatever is asked for, the number of series stays what it was."""
    with serve(DATABASE_URL=database_url) as server, httpx.Client() as client:
        base = f"http://127.0.0.1:{server.port}"
        client.request("BREW", f"{base}/nowhere")
        server.get("/nowhere"), server.get("/metrics")
        before = samples(server.get("/metrics").text)
        for number in range(300):
            client.get(f"{base}/nowhere/{number}?{number}")
            client.request(f"BREW{number}", f"{base}/{number}")
        after = samples(server.get("/metrics").text)

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
    assert found["groundwork_readiness_check_duration_seconds_count", ()] == 1


async def test_the_pool_and_the_process_are_told(client: httpx.AsyncClient) -> None:
    """Connections by state, who waits for one, and what the process uses."""
    found = await scrape(client)

    assert found["groundwork_db_pool_connections", (("state", "idle"),)] == 1
    assert found["groundwork_db_pool_max_connections", ()] == 1
    assert found["groundwork_db_pool_waiters", ()] == 0
    assert found["groundwork_log_lines_dropped_total", ()] == 0
    assert found["groundwork_event_loop_lag_seconds", ()] > 0
    assert found["process_resident_memory_bytes", ()] > 0
    build = (("environment", "development"), ("version", __version__))
    assert found["groundwork_build_info", build] == 1


@pytest.fixture
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """Give development's settings, with what the test's parameter changes."""
    return dataclasses.replace(settings, **getattr(request, "param", {}))


@pytest.mark.parametrize("settings", [{"environment": "production"}], indirect=True)
async def test_metrics_hide_without_a_token_configured(client: httpx.AsyncClient) -> None:
    """Outside development they are guarded as the details are."""
    assert (await client.get("/metrics")).status_code == 404
