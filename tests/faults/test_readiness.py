"""Readiness, exactly: every fault, within 0.9 s, and back by itself."""

import asyncio
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.faults.cluster import PASSWORD, Cluster
from tests.faults.probes import Answer, Watch, burst, get, until
from tests.faults.proxy import Mode, Proxy
from tests.servers import APP, Server, serve, wait_until

ANSWER_SECONDS = 1.2  # 0.9 is promised; the rest is for a noisy machine
RECOVERY_SECONDS = 2.5  # 1.5 is promised
NOTICE_SECONDS = 3.0  # a TTL and a timeout are 1.8


@dataclass
class Case:
    """A fault: how to bring it about, what readiness says meanwhile, for how many seconds."""

    fault: Callable[[Cluster, Proxy], AbstractContextManager[None]]
    reason: str
    seconds: float = 2.0


@contextmanager
def mode(proxy: Proxy, name: Mode, delay: float = 0.0) -> Iterator[None]:
    """Let the proxy fail in this way."""
    proxy.set(name, delay)
    yield
    proxy.set("pass")


@contextmanager
def stopped(cluster: Cluster) -> Iterator[None]:
    """Halt every process of the server."""
    cluster.signal_all(signal.SIGSTOP)
    yield
    cluster.signal_all(signal.SIGCONT)


@contextmanager
def no_slots(cluster: Cluster) -> Iterator[None]:
    """Let others take every connection there is."""
    with ExitStack() as stack:
        cluster.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")
        try:
            for _ in range(40):
                connection = psycopg2.connect(cluster.url())
                stack.enter_context(closing(connection))
        except psycopg2.OperationalError:
            pass
        yield


@contextmanager
def wrong_password(cluster: Cluster) -> Iterator[None]:
    """Change the password behind the service's back, and end its sessions."""
    cluster.run("ALTER ROLE app PASSWORD 'changed'")
    cluster.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")
    yield
    cluster.run(f"ALTER ROLE app PASSWORD '{PASSWORD}'")


@contextmanager
def dropped(cluster: Cluster) -> Iterator[None]:
    """Take the database away."""
    kick = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'groundwork'"
    cluster.run("ALTER DATABASE groundwork ALLOW_CONNECTIONS false", database="postgres")
    cluster.run(kick, database="postgres")
    cluster.run("ALTER DATABASE groundwork RENAME TO gone", database="postgres")
    yield
    cluster.run("ALTER DATABASE gone RENAME TO groundwork", database="postgres")
    cluster.run("ALTER DATABASE groundwork ALLOW_CONNECTIONS true", database="postgres")


@contextmanager
def locked_table(cluster: Cluster) -> Iterator[None]:
    """Hold the migration table as a rewrite of it would."""
    with closing(psycopg2.connect(cluster.url("postgres"))) as connection:
        connection.cursor().execute("LOCK TABLE _yoyo_migration IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def down(cluster: Cluster) -> Iterator[None]:
    """Stop the server in an orderly way, and start it again."""
    cluster.stop()
    yield
    cluster.start()


CASES = {
    "connection refused": Case(lambda _, p: mode(p, "refuse"), "database_unreachable"),
    "silent accept": Case(lambda _, p: mode(p, "silent"), "database_timeout", 3),
    "frozen": Case(lambda _, p: mode(p, "freeze"), "database_timeout", 7),
    "RST": Case(lambda _, p: mode(p, "reset"), "database_unreachable"),
    "SIGSTOP": Case(lambda c, _: stopped(c), "database_timeout", 5),
    "latency 2 s": Case(lambda _, p: mode(p, "pass", 2.0), "database_timeout", 3),
    "no connection slots": Case(lambda c, _: no_slots(c), "database_rejected"),
    "wrong password": Case(lambda c, _: wrong_password(c), "database_rejected"),
    "database dropped": Case(lambda c, _: dropped(c), "database_rejected"),
    "migration table locked": Case(lambda c, _: locked_table(c), "database_timeout", 3),
    "server down": Case(lambda c, _: down(c), "database_unreachable"),
}


@pytest.mark.parametrize("name", CASES)
async def test_every_fault_is_told_in_time(
    cluster: Cluster, proxy: Proxy, service: Server, name: str
) -> None:
    """Under the fault each answer is right and within 0.9 s, live is unmoved; then it is over."""
    case = CASES[name]
    await until(service.port, 200)
    live = Watch(service.port, "/health/live")
    with case.fault(cluster, proxy):
        noticed = await until(service.port, 503, case.reason)
        answers = await burst(service.port)
        await asyncio.sleep(case.seconds - 2)
        answers += await burst(service.port)
    healed = await until(service.port, 200)
    await live.stop()

    worst = max(answer.seconds for answer in answers)
    print(
        f"{name}: noticed {noticed:.2f} s, worst ready {worst:.3f} s, recovered {healed:.2f} s, "
        f"live worst {live.worst() * 1000:.0f} ms, median {live.median() * 1000:.1f} ms"
    )
    assert {(answer.status, answer.reason) for answer in answers} == {(503, case.reason)}
    assert worst < ANSWER_SECONDS
    assert noticed < NOTICE_SECONDS
    assert healed < RECOVERY_SECONDS
    assert {answer.status for answer in live.answers} == {200}
    assert not live.failures
    assert live.median() < 0.05


@pytest.fixture
def app(cluster: Cluster, proxy: Proxy) -> Iterator[Server]:
    """Give the service with routes that use the pool, which has five connections."""
    url = cluster.url(port=proxy.port)
    with serve(APP, DATABASE_URL=url, DB_POOL_MAX_SIZE="5", LOG_LEVEL="INFO") as server:
        yield server


async def test_saturation_is_no_outage(proxy: Proxy, app: Server) -> None:
    """Of {database up, down} x {pool free, full}, down alone is 503; up and full is degraded."""
    await until(app.port, 200)
    held = [asyncio.create_task(get(app.port, "/hold/5")) for _ in range(5)]
    seconds = await until(app.port, 200, "pool_saturated")
    full = await burst(app.port)
    proxy.set("freeze")
    await until(app.port, 503, "database_timeout")
    down_and_full = await burst(app.port)
    proxy.set("pass")
    await until(app.port, 200, "pool_saturated")
    await asyncio.wait(held)
    await until(app.port, 200)
    free = await burst(app.port)

    print(f"saturated: noticed {seconds:.2f} s, worst {max(a.seconds for a in full):.3f} s")
    assert {(answer.status, answer.body["status"]) for answer in full} == {(200, "degraded")}
    assert {answer.status for answer in down_and_full} == {503}
    assert {(answer.status, answer.body["status"]) for answer in free} == {(200, "ok")}


async def test_a_slow_database_gets_ready(proxy: Proxy, cluster: Cluster) -> None:
    """300 ms away, a connect takes longer than a check may, and yet it is ready in the end."""
    proxy.set("pass", 0.3)
    with serve(DATABASE_URL=cluster.url(port=proxy.port)) as server:
        seconds = await until(server.port, 200)
        answers = await burst(server.port)

    print(f"300 ms away: ready after {seconds:.2f} s")
    assert {answer.status for answer in answers} == {200}


async def test_many_probes_share_a_check(cluster: Cluster, proxy: Proxy, app: Server) -> None:
    """2,000 probes at once, half of which hang up, are two checks, and leave nothing behind."""
    cluster.run("CREATE EXTENSION pg_stat_statements", database="postgres")
    await until(app.port, 200)
    proxy.set("pass", 0.2)
    await asyncio.sleep(1.1)
    before, tasks = checks(cluster), (await get(app.port, "/tasks")).body["tasks"]
    probes = [asyncio.create_task(get(app.port)) for _ in range(2000)]
    await asyncio.sleep(0.1)
    for probe in probes[::2]:
        probe.cancel()
    outcomes = await asyncio.gather(*probes, return_exceptions=True)
    made = checks(cluster) - before
    proxy.set("pass")
    await asyncio.sleep(1.5)

    answers = [outcome for outcome in outcomes if isinstance(outcome, Answer)]
    print(f"2,000 probes: {made} checks, worst {max(a.seconds for a in answers):.2f} s")
    assert {answer.status for answer in answers} == {200}
    assert made <= 2
    assert (await get(app.port, "/tasks")).body["tasks"] <= tasks + 1
    assert not [line for line in app.lines() if '"ERROR"' in line]


def checks(cluster: Cluster) -> int:
    """Count the checks that the server has answered."""
    statement = "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query LIKE $$%yoyo%$$"
    ((calls,),) = cluster.run(f"{statement} AND query LIKE '%read_only%'", database="postgres")
    return int(str(calls))


async def test_a_clean_restart_shows_nothing_beyond_itself(cluster: Cluster, app: Server) -> None:
    """Requests fail only while the database is down, and none once readiness is back."""
    await until(app.port, 200)
    load = Watch(app.port, "/query", pause=0.01)
    probes = Watch(app.port, "/health/ready", pause=0.1)
    await asyncio.sleep(0.5)
    cluster.stop()
    await asyncio.sleep(1.5)
    cluster.start()
    await until(app.port, 200)
    back = time.monotonic()
    await asyncio.sleep(1.5)
    await load.stop()
    await probes.stop()

    failed = [answer for answer in load.answers if answer.status != 200]
    print(f"restart: {len(failed)} of {len(load.answers)} failed, all before readiness was back")
    assert failed
    assert not [answer for answer in failed if answer.asked > back]
    assert not [answer for answer in probes.answers if answer.status != 200 and answer.asked > back]


async def test_a_silent_failover_costs_one_probe(proxy: Proxy, app: Server) -> None:
    """With every warm connection dead, requests after the first red probe all succeed."""
    await until(app.port, 200)
    await asyncio.gather(*(get(app.port, "/hold/0.2") for _ in range(5)))
    proxy.abandon()
    red = await until(app.port, 503, "database_timeout")
    answers = await burst(app.port, "/query", at_once=5)
    green = await until(app.port, 200)

    print(f"failover: red after {red:.2f} s, green {green:.2f} s later")
    assert {answer.status for answer in answers} == {200}


async def test_a_locked_table_collects_no_sessions(cluster: Cluster, service: Server) -> None:
    """A check that is late is cancelled on the server too: it does not wait there for the lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    await until(service.port, 200)
    with locked_table(cluster):
        await until(service.port, 503, "database_timeout")
        watch = Watch(service.port, "/health/ready")
        await asyncio.sleep(5)
        ((sessions,),) = cluster.run(waiting)
        await watch.stop()

    assert int(str(sessions)) <= 2


async def test_one_line_each_way(cluster: Cluster, proxy: Proxy) -> None:
    """1,000 failing probes are two lines, down and up, without password or traceback."""
    with serve(DATABASE_URL=cluster.url(port=proxy.port), READINESS_TTL="0.01") as service:
        await until(service.port, 200)
        wait_until(lambda: "readiness is ok" in service.lines()[-1])
        before = len(service.lines())
        proxy.set("refuse")
        await until(service.port, 503, "database_unreachable")
        answers = await burst(service.port, total=1000)
        proxy.set("pass")
        await until(service.port, 200)
        wait_until(lambda: "readiness is ok" in service.lines()[-1])
        lines = [json.loads(line) for line in service.lines()[before:]]

    assert {answer.status for answer in answers} == {503}
    assert [line["message"] for line in lines] == ["readiness is unavailable", "readiness is ok"]
    assert lines[0]["reason"] == "database_unreachable"
    assert lines[1]["lasted_seconds"] > 0
    assert not [line for line in lines if PASSWORD in str(line) or "Traceback" in str(line)]


async def test_a_role_that_may_only_read(cluster: Cluster) -> None:
    """CONNECT and SELECT are enough to be told the truth, and nothing is ever created."""
    cluster.run("ALTER SYSTEM SET log_statement = 'all'")
    cluster.run("SELECT pg_reload_conf()")
    seen = len((cluster.data / "log").read_text())
    with serve(DATABASE_URL=cluster.url("reader")) as server:
        await until(server.port, 200)
        cluster.run("DELETE FROM _yoyo_migration WHERE migration_id LIKE '0002%'")
        await until(server.port, 503, "migrations_pending")

    log = (cluster.data / "log").read_text()[seen:]
    assert "FROM _yoyo_migration" in log
    assert not [word for word in ("CREATE", "INSERT", "ALTER TABLE") if word in log]


async def test_faults_leave_nothing_behind(cluster: Cluster, app: Server) -> None:
    """After restart upon restart under load, descriptors, tasks and sessions are as before."""
    await until(app.port, 200)
    await burst(app.port, "/query", at_once=5)
    before = footprint(app, (await get(app.port, "/tasks")).body["tasks"])
    loads = [Watch(app.port, path) for path in ("/query", "/health/ready", "/health/details")]
    for number in (signal.SIGINT, signal.SIGKILL, signal.SIGQUIT, signal.SIGINT):
        await asyncio.sleep(1.5)
        cluster.stop(number)
        await asyncio.sleep(0.7)
        cluster.start()
    await until(app.port, 200)
    for load in loads:
        await load.stop()
    await burst(app.port, "/query", at_once=5)
    await asyncio.sleep(2)
    after = footprint(app, (await get(app.port, "/tasks")).body["tasks"])
    ((sessions,),) = cluster.run("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'")

    print(f"faults: {before} before, {after} after, {sessions} sessions")
    assert after["descriptors"] <= before["descriptors"] + 2
    assert after["tasks"] <= before["tasks"] + 2
    assert after["megabytes"] <= before["megabytes"] + 20
    assert int(str(sessions)) <= 6


def footprint(server: Server, tasks: Any) -> dict[str, Any]:
    """Return what a process holds."""
    proc = Path(f"/proc/{server.process.pid}")
    pages = int((proc / "statm").read_text().split()[1])
    return {
        "descriptors": len(list((proc / "fd").iterdir())),
        "tasks": tasks,
        "megabytes": pages * 4096 // 1024**2,
    }
