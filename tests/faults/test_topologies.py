"""Readiness through PgBouncer, and during a failover."""

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.faults.cluster import PASSWORD, Cluster
from tests.faults.probes import burst, get, until
from tests.faults.proxy import Proxy
from tests.servers import APP, NOISE, end, free_port, serve, wait_until

PGBOUNCER = """
[databases]
groundwork = host=127.0.0.1 port={upstream}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
pool_mode = transaction
auth_type = trust
auth_file = {folder}/users
server_login_retry = 1
"""


@pytest.fixture
def pooler(cluster: Cluster) -> Iterator[int]:
    """Run PgBouncer in transaction mode and return its port."""
    port, folder = free_port(), Path(mkdtemp(prefix="groundwork-test-"))
    folder.chmod(0o755)  # it reads its files as another user
    (folder / "users").write_text(f'"app" "{PASSWORD}"\n')
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(
        PGBOUNCER.format(upstream=cluster.port, port=port, folder=folder),
    )
    process = subprocess.Popen(
        ["pgbouncer", "--quiet", configuration],
        user=cluster.data.owner() if os.geteuid() == 0 else None,  # it refuses to run as root
        stderr=subprocess.DEVNULL,
    )
    yield port
    end(process)
    shutil.rmtree(folder)


@pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="PgBouncer is not installed")
async def test_readiness_through_pgbouncer(cluster: Cluster, pooler: int) -> None:
    """Through PgBouncer in transaction mode, readiness follows an outage and its end."""
    url = cluster.url(port=pooler)
    with serve(APP, DATABASE_URL=url, DB_STATEMENT_CACHE_SIZE="0") as server:
        await until(server.port, 200)
        responses = await burst(server.port, "/query")
        cluster.stop()
        red = await until(server.port, 503, "database_unreachable")
        cluster.start()
        green = await until(server.port, 200)

    print(f"PgBouncer: red after {red:.2f} s, green {green:.2f} s after the restart")
    assert {response.status for response in responses} == {200}


@pytest.fixture
def replica(cluster: Cluster) -> Iterator[Cluster]:
    """Start a streaming replica of the cluster."""
    cluster.stop()
    replica = cluster.copy()
    (replica.data / "standby.signal").touch()
    with (replica.data / "postgresql.auto.conf").open("a") as configuration:
        primary = f"host=127.0.0.1 port={cluster.port} user=postgres"
        configuration.write(f"primary_conninfo = '{primary}'\n")
    cluster.start()
    try:
        replica.start()
        yield replica
    finally:
        replica.stop()


@pytest.mark.parametrize("dies", ["by kill -9", "without a word"])
async def test_readiness_follows_a_failover(cluster: Cluster, replica: Cluster, dies: str) -> None:
    """With both hosts in DATABASE_URL, readiness finds the promoted replica."""
    with Proxy(cluster.port).running() as proxy:
        hosts = f"127.0.0.1:{proxy.port},127.0.0.1:{replica.port}"
        url = cluster.url().replace(f"127.0.0.1:{cluster.port}", hosts)
        with serve(DATABASE_URL=f"{url}?target_session_attrs=read-write") as server:
            await until(server.port, 200)
            if dies == "by kill -9":
                cluster.stop(signal.SIGKILL)
                red = await until(server.port, 503, "database_read_only")
            else:
                proxy.set("freeze")
                red = await until(server.port, 503, "database_timeout")
            replica.run("SELECT pg_promote()")
            green = await until(server.port, 200)
            responses = await burst(server.port)

    print(f"primary dies {dies}: red after {red:.2f} s, green {green:.2f} s after the promotion")
    assert {response.status for response in responses} == {200}


async def test_a_failover_frees_a_busy_pool(cluster: Cluster, replica: Cluster) -> None:
    """Statements that hang on the old primary take no connections from requests to the new one."""
    hosts = f"127.0.0.1:{cluster.port},127.0.0.1:{replica.port}"
    url = cluster.url().replace(f"127.0.0.1:{cluster.port}", hosts)
    url += "?target_session_attrs=read-write"
    with serve(APP, DATABASE_URL=url, DB_POOL_MAX_SIZE="2") as server:
        await until(server.port, 200)
        held = [asyncio.create_task(get(server.port, "/hold/20")) for _ in range(2)]
        await until(server.port, 200, "pool_saturated")
        cluster.signal_all(signal.SIGSTOP)
        await until(server.port, 503, "database_timeout")
        replica.run("SELECT pg_promote()")
        await until(server.port, 200)
        responses = await burst(server.port, "/write")
        cluster.signal_all(signal.SIGKILL)
        assert {response.status for response in await asyncio.gather(*held)} == {503}

    assert {response.status for response in responses} == {200}


async def test_an_address_that_moves_frees_a_busy_pool(cluster: Cluster, replica: Cluster) -> None:
    """Statements that hang on the old primary, which is not lost, take no connections either."""
    with Proxy(cluster.port).running() as proxy:
        url = cluster.url(port=proxy.port)
        with serve(APP, DATABASE_URL=url, DB_POOL_MAX_SIZE="2") as server:
            await until(server.port, 200)
            held = [asyncio.create_task(get(server.port, "/hold/15")) for _ in range(2)]
            await until(server.port, 200, "pool_saturated")
            replica.run("SELECT pg_promote()")
            proxy.redirect(replica.port)
            freed = await until(server.port, 200)
            responses = await burst(server.port, "/write")
            assert {response.status for response in await asyncio.gather(*held)} == {200}

    assert {response.status for response in responses} == {200}
    assert freed < 5 + NOISE


async def test_a_primary_beside_a_standby_can_shut_down(cluster: Cluster, replica: Cluster) -> None:
    """A smart shutdown ends within 10 s: the sessions are let go, though the standby is up."""
    hosts = f"127.0.0.1:{cluster.port},127.0.0.1:{replica.port}"
    url = cluster.url().replace(f"127.0.0.1:{cluster.port}", hosts)
    with serve(APP, DATABASE_URL=f"{url}?target_session_attrs=read-write") as server:
        await until(server.port, 200)
        await burst(server.port, "/hold/0.1", total=5)
        started = time.monotonic()
        await asyncio.to_thread(cluster.stop, signal.SIGTERM)
        seconds = time.monotonic() - started
        await until(server.port, 503, "database_read_only")

    print(f"smart shutdown beside a standby: {seconds:.2f} s")
    assert seconds < 10 + NOISE


async def test_a_standby_alone_is_not_ready(replica: Cluster) -> None:
    """Readiness is 503 database_read_only until it is promoted; the log says what it is."""
    with serve(DATABASE_URL=replica.url()) as server:
        await until(server.port, 503, "database_read_only")
        cause = f'"cause":"sessions are read-only: standby 127.0.0.1 {replica.port} started at'
        wait_until(lambda: cause in server.log.read_text(), server)
        details = server.get("/health/details").json()["components"]["database"]
        assert details["cause"] == "sessions are read-only"
        await asyncio.to_thread(replica.run, "SELECT pg_promote()")
        await until(server.port, 200)


@pytest.mark.parametrize("moves", ["to the primary", "to the standby"])
async def test_readiness_follows_an_address_that_moves(
    cluster: Cluster, replica: Cluster, moves: str
) -> None:
    """New connections reach the other server while all sessions live on: it counts within 5 s."""
    before, after = (replica, cluster) if moves == "to the primary" else (cluster, replica)
    states = {cluster: (200, None), replica: (503, "database_read_only")}
    with Proxy(before.port).running() as proxy:
        url = cluster.url(port=proxy.port)
        with serve(APP, DATABASE_URL=url, DB_POOL_MAX_SIZE="5") as server:
            await until(server.port, *states[before])
            await burst(server.port, "/hold/0.3", total=5)
            proxy.redirect(after.port)
            noticed = await until(server.port, *states[after])
            written = await burst(server.port, "/write", total=25)

    print(f"address moves {moves}: noticed after {noticed:.2f} s")
    assert {response.status for response in written} == {states[after][0]}
    assert noticed < 5 + NOISE
