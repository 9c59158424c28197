"""What happened in the last ten minutes."""

import asyncio
import math
from unittest.mock import Mock

import pytest

from groundwork.core.observability import recent
from groundwork.core.observability.metrics import OPERATIONS, request_duration
from groundwork.core.observability.recent import QueryTimes, Recent
from groundwork.core.tasks import spawn
from tests.conftest import Serving


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Give the clock of the module, set to 1000 s."""
    clock = Mock(return_value=1000.0)
    monkeypatch.setattr(recent, "time", Mock(monotonic=clock))
    return clock


def test_requests_are_counted_from_the_first_snapshot(clock: Mock) -> None:
    """The rate is per second since then, over all methods, routes and status codes."""
    request_duration("GET", "/recent", 200).observe(0.01)
    activity = Recent()
    for method, status in (("GET", 200), ("POST", 201), ("GET", 404), ("GET", 500), ("GET", 503)):
        request_duration(method, "/recent", status).observe(0.01)
    clock.return_value += 10

    rate, errors, _ = activity.read()

    assert (rate, errors) == (0.5, 2)


def test_a_young_process_has_no_high_rate(clock: Mock) -> None:
    """In the first second, one request is one per second."""
    activity = Recent()
    request_duration("GET", "/recent", 200).observe(0.01)
    clock.return_value += 0.001

    assert activity.read()[0] == 1


def test_a_process_without_requests_has_no_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no response has been 5xx yet, the number of errors is 0."""
    monkeypatch.setattr(recent, "_totals", dict)

    assert Recent().read() == (0, 0, [])


@pytest.mark.parametrize(
    "route", ["/", "/metrics", "/health/live", "/health/ready", "/health/details"]
)
def test_probes_are_left_out(route: str) -> None:
    """Requests of operators and their tools are neither requests nor errors here."""
    activity = Recent()
    request_duration("GET", route, 503).observe(0.01)

    assert activity.read()[:2] == (0, 0)


def test_queries_have_a_bound_and_a_mean() -> None:
    """A query has the limit of the bucket that holds its slowest call, and infinity beyond."""
    OPERATIONS.labels("postgresql", "recent/fast").observe(3)
    activity = Recent()
    for name, seconds in (("fast", 0.003), ("fast", 0.003), ("slow", 0.2), ("hung", 30)):
        OPERATIONS.labels("postgresql", f"recent/{name}").observe(seconds)

    assert [one._replace(mean=round(one.mean, 6)) for one in activity.read()[2]] == [
        QueryTimes(math.inf, 30, 1, "recent/hung"),
        QueryTimes(0.5, 0.2, 1, "recent/slow"),
        QueryTimes(0.005, 0.003, 2, "recent/fast"),
    ]


def test_the_five_slowest_queries_are_listed() -> None:
    """Of those with the same bound, the slowest on average come first."""
    activity = Recent()
    for tenths in range(7):
        OPERATIONS.labels("postgresql", f"recent/{tenths}").observe(0.002 + tenths / 10_000)

    assert [one.name[-1] for one in activity.read()[2]] == ["6", "5", "4", "3", "2"]


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(("snapshots", "rate"), [(19, 1), (20, 0)])
async def test_the_window_is_ten_minutes(
    monkeypatch: pytest.MonkeyPatch, snapshots: int, rate: float
) -> None:
    """Snapshots are taken all the time; what was counted before the oldest is left out."""
    window = recent.INTERVAL_SECONDS * recent.SNAPSHOTS
    monkeypatch.setattr(recent, "INTERVAL_SECONDS", 0)
    activity = Recent()
    request_duration("GET", "/recent", 200).observe(0.01)
    recorder = spawn(activity.record())
    for _ in range(snapshots + 1):
        await asyncio.sleep(0)
    recorder.cancel()

    assert window == 600
    assert activity.read()[0] == rate


async def test_the_service_records(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots are taken from startup to shutdown."""
    events = []

    async def record(_: Recent) -> None:
        events.append("start")
        try:
            await asyncio.Event().wait()
        finally:
            events.append("stop")

    monkeypatch.setattr(Recent, "record", record)
    async with serving("postgresql://nobody@127.0.0.1:1/nothing"):
        await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert events == ["start", "stop"]
