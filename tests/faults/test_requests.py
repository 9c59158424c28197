"""Requests under fault injection: 503, one warning, bounded waits, a bounded queue."""

import asyncio
import json
import resource
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.databases import transaction
from tests.faults.app import LOCK
from tests.faults.cluster import Cluster
from tests.faults.probes import Response, burst, get, until
from tests.servers import APP, NOISE, PATIENCE, Server, serve, wait_until


@pytest.fixture
def app(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Server]:
    """Run the service with the test's settings and routes that use the pool."""
    settings = {"DB_POOL_MAX_SIZE": "5", "LOG_LEVEL": "INFO", **getattr(request, "param", {})}
    with serve(APP, DATABASE_URL=cluster.url(), **settings) as server:
        wait_until(lambda: server.get("/health/ready").status_code == 200, server)
        yield server


def logged(app: Server, message: str) -> list[dict[str, Any]]:
    """Return the log lines with a message."""
    lines = [json.loads(line) for line in app.lines() if line.startswith("{")]
    return [line for line in lines if line["message"] == message]


def is_one_warning(app: Server, reason: str) -> bool:
    """Return whether the log has one warning with this reason, and no traceback at all."""
    wait_until(lambda: logged(app, "request failed, database unavailable"), app)
    warnings = logged(app, "request failed, database unavailable")
    return [one["reason"] for one in warnings] == [reason] and "Traceback" not in str(app.lines())


def megabytes(app: Server) -> float:
    """Return the resident memory of the service."""
    pages = Path(f"/proc/{app.process.pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize() / 2**20


COMMAND_TIMEOUT = {"DB_COMMAND_TIMEOUT": "1"}


@pytest.mark.parametrize("app", [COMMAND_TIMEOUT], indirect=True)
@pytest.mark.parametrize("path", ["/hold/30", "/transaction/30"])
async def test_a_slow_statement_is_503_after_its_timeout(
    cluster: Cluster, app: Server, path: str
) -> None:
    """After DB_COMMAND_TIMEOUT it is 503, and the statement is cancelled on the server too."""
    response = await get(app.port, path)
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND state = 'active'"
    wait_until(lambda: len(cluster.run(sleeping)) <= 1)  # which is this query

    assert response.status == 503
    assert response.seconds < 1 + 1 + NOISE
    assert is_one_warning(app, "database_timeout")


@pytest.mark.parametrize("app", [COMMAND_TIMEOUT], indirect=True)
@pytest.mark.parametrize("path", ["/hold/1", "/transaction/1", "/query"])
async def test_a_frozen_server_costs_the_timeout_once(
    cluster: Cluster, app: Server, path: str
) -> None:
    """While every process of the server is stopped, a request takes no second timeout."""
    assert (await get(app.port, "/query")).status == 200
    cluster.signal_all(signal.SIGSTOP)
    response = await get(app.port, path)
    cluster.signal_all(signal.SIGCONT)

    assert response.status == 503
    assert response.seconds < 1 + 1 + NOISE


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("SELECT pg_cancel_backend(pid) {}", "database_timeout"),
        ("SELECT pg_terminate_backend(pid) {}", "database_unreachable"),
    ],
)
async def test_a_cancelled_statement_is_503(
    cluster: Cluster, app: Server, statement: str, reason: str
) -> None:
    """What an operator cancels or terminates is no bug: one warning, and the client may retry."""
    running = asyncio.create_task(get(app.port, "/hold/20"))
    sleeping = "FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
    while not cluster.run(f"SELECT 1 {sleeping}"):
        await asyncio.sleep(0.05)
    cluster.run(statement.format(sleeping))

    assert (await running).status == 503
    assert is_one_warning(app, reason)


async def test_a_timeout_of_the_role_is_503(cluster: Cluster, app: Server) -> None:
    """A statement_timeout that the role has strikes as the service's own."""
    cluster.run("ALTER ROLE app SET statement_timeout = '500ms'")
    async with asyncio.timeout(PATIENCE):
        while (response := await get(app.port, "/hold/1")).status == 200:
            pass

    assert response.status == 503
    assert is_one_warning(app, "database_timeout")


ONE = {"DB_POOL_MAX_SIZE": "1", "DB_POOL_TIMEOUT": "1"}


@pytest.mark.parametrize("app", [ONE], indirect=True)
async def test_a_wait_for_a_connection_is_bounded(cluster: Cluster, app: Server) -> None:
    """While one request has the only connection, the next is 503 after DB_POOL_TIMEOUT."""
    with transaction(cluster.url("postgres"), LOCK):
        holding = asyncio.create_task(get(app.port, "/locked"))
        await until(app.port, 200, "pool_saturated")
        refused = await get(app.port, "/query")

    assert (refused.status, (await holding).status) == (503, 200)
    assert 0.9 < refused.seconds < 1 + NOISE
    assert is_one_warning(app, "pool_saturated")
    assert (await get(app.port, "/query")).status == 200


@pytest.mark.parametrize("app", [ONE | {"DB_POOL_TIMEOUT": "30"}], indirect=True)
async def test_a_client_that_leaves_leaves_the_queue(cluster: Cluster, app: Server) -> None:
    """A request whose client disconnects while it waits is 499, and waits no longer."""
    with transaction(cluster.url("postgres"), LOCK):
        holding = asyncio.create_task(get(app.port, "/locked"))
        await until(app.port, 200, "pool_saturated")
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", app.port)) as client:
                client.sendall(b"GET /query HTTP/1.1\r\nHost: x\r\n\r\n")
                await asyncio.sleep(0.1)
        wait_until(lambda: len(logged(app, "GET /query 499")) == 3, app)
        assert not holding.done()

    assert (await holding).status == 200
    assert not logged(app, "GET /query 200")


@pytest.mark.parametrize("app", [{"DB_POOL_TIMEOUT": "2"}], indirect=True)
async def test_a_thousand_requests_against_a_held_pool(cluster: Cluster, app: Server) -> None:
    """All are 503 in time, probes stay right, and afterwards all is as before."""
    tasks, memory = (await get(app.port, "/tasks")).body["tasks"], megabytes(app)
    probes: list[Response] = []
    with transaction(cluster.url("postgres"), LOCK):
        holders = [asyncio.create_task(get(app.port, "/locked")) for _ in range(5)]
        await until(app.port, 200, "pool_saturated")
        flood = asyncio.create_task(burst(app.port, "/query", total=1000, at_once=1000))
        while not flood.done():
            probes.append(await get(app.port))
            await asyncio.sleep(0.2)
    refused = await flood
    await asyncio.wait(holders)
    await until(app.port, 200)
    async with asyncio.timeout(PATIENCE):
        while (await get(app.port, "/tasks")).body["tasks"] > tasks + 5:
            await asyncio.sleep(0.2)

    worst, grown = max(one.seconds for one in refused), megabytes(app) - memory
    print(f"worst refusal {worst:.2f} s, {grown:.0f} MB more")
    assert {one.status for one in refused} == {503}
    assert worst < 2 + 0.5 + NOISE
    assert {(one.status, one.reason) for one in probes} == {(200, "pool_saturated")}
    assert grown < 60
    assert (await burst(app.port, "/query", total=20))[0].status == 200


async def test_plans_are_renewed_after_a_migration(cluster: Cluster, app: Server) -> None:
    """A column that becomes bigint under prepared statements costs no more than a few 503."""
    cluster.run("CREATE TABLE number (n int)")
    cluster.run("GRANT ALL ON number TO app")
    assert {one.status for one in await burst(app.port, "/add/1", total=20)} == {200}
    cluster.run(
        "ALTER TABLE number ALTER n TYPE bigint;"
        "INSERT INTO _yoyo_migration VALUES ('f', '9999.widen-number', now())"
    )
    seen, started = [], time.monotonic()
    while time.monotonic() - started < 5 + NOISE + 1:
        seen.append(await get(app.port, "/add/5000000000"))
        await asyncio.sleep(0.1)

    late = [one.status for one in seen if one.sent - started > 5 + NOISE]
    assert {one.status for one in seen} <= {200, 503}
    assert set(late) == {200}


async def test_a_blocked_event_loop_is_named(app: Server) -> None:
    """What was late because of a handler is no fault of the database; log and metrics say which."""
    await get(app.port, "/freeze/2")
    after = await get(app.port)
    scrape = app.get("/metrics").text
    lag = next(
        line for line in scrape.splitlines() if line.startswith("groundwork_event_loop_lag_max")
    )

    stacks = [line["stack_info"] for line in logged(app, "event loop blocked")]
    reasons = [one["reason"] for one in app.get("/health/details").json()["transitions"]]
    assert after.reason in {None, "event_loop_blocked"}
    assert "database_timeout" not in reasons
    assert sum("in freeze" in stack for stack in stacks) == 1
    assert 1.5 < float(lag.split()[1]) < 2 + NOISE
