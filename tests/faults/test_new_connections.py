"""Readiness when new connections fail, or meet something else, while old sessions live on."""

import asyncio
import signal
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager

import pytest

from tests.databases import transaction
from tests.faults.cluster import PASSWORD, Cluster, taken_slots
from tests.faults.probes import Watch, burst, get, until
from tests.servers import APP, NOISE, Server, serve

DETECTION_SECONDS = 5 + NOISE
RESPONSE_SECONDS = 0.9 + NOISE


@contextmanager
def changed_password(cluster: Cluster) -> Iterator[None]:
    """Change the password of the service's role; its sessions live on."""
    cluster.run("ALTER ROLE app PASSWORD 'changed'")
    yield
    cluster.run(f"ALTER ROLE app PASSWORD '{PASSWORD}'")


@contextmanager
def changed_role(cluster: Cluster) -> Iterator[None]:
    """Change the password and a setting of the service's role, which its sessions can see."""
    with changed_password(cluster):
        cluster.run("ALTER ROLE app SET work_mem = '5MB'")
        yield
    cluster.run("ALTER ROLE app RESET work_mem")


@contextmanager
def no_login(cluster: Cluster) -> Iterator[None]:
    """Take the role's right to log in."""
    cluster.run("ALTER ROLE app NOLOGIN")
    yield
    cluster.run("ALTER ROLE app LOGIN")


@contextmanager
def connection_limit(cluster: Cluster) -> Iterator[None]:
    """Allow the database no more connections."""
    cluster.run("ALTER DATABASE groundwork CONNECTION LIMIT 0")
    yield
    cluster.run("ALTER DATABASE groundwork CONNECTION LIMIT -1")


@contextmanager
def no_connections(cluster: Cluster) -> Iterator[None]:
    """Forbid connections to the database."""
    forbid = "ALTER DATABASE groundwork ALLOW_CONNECTIONS {}"
    cluster.run(forbid.format("false"), database="postgres")
    yield
    cluster.run(forbid.format("true"), database="postgres")


@contextmanager
def rejected_by_hba(cluster: Cluster) -> Iterator[None]:
    """Reject the role in pg_hba.conf."""
    file = cluster.data / "pg_hba.conf"
    text = file.read_text()
    file.write_text(text.replace("scram-sha-256", "reject"))
    cluster.run("SELECT pg_reload_conf()")
    yield
    file.write_text(text)
    cluster.run("SELECT pg_reload_conf()")


REFUSED: dict[str, Callable[[Cluster], AbstractContextManager[None]]] = {
    "password changed": changed_password,
    "password and setting changed": changed_role,
    "login revoked": no_login,
    "slots taken": taken_slots,
    "connection limit": connection_limit,
    "connections forbidden": no_connections,
    "rejected by pg_hba.conf": rejected_by_hba,
}


@pytest.fixture
def app(cluster: Cluster) -> Iterator[Server]:
    """Run the service with five pool connections and routes that use them."""
    with serve(APP, DATABASE_URL=cluster.url(), DB_POOL_MAX_SIZE="5", LOG_LEVEL="INFO") as server:
        yield server


@asynccontextmanager
async def probed(port: int) -> AsyncGenerator[Watch]:
    """Send a probe each second meanwhile, as a platform does."""
    watch = Watch(port, "/health/ready", pause=1.0)
    yield watch
    await watch.stop()
    assert watch.worst() < RESPONSE_SECONDS
    assert not watch.failures


@pytest.mark.parametrize("name", REFUSED)
async def test_refused_connections_are_degraded_while_sessions_serve(
    cluster: Cluster, app: Server, name: str
) -> None:
    """With sessions of the pool alive it is 200 with the reason; requests are served by them."""
    await until(app.port, 200)
    assert (await get(app.port, "/query")).status == 200
    async with probed(app.port):
        with REFUSED[name](cluster):
            noticed = await until(app.port, 200, "database_rejected")
            served = await burst(app.port, "/query")
        recovered = await until(app.port, 200)

    print(f"{name}: noticed {noticed:.2f} s, recovered {recovered:.2f} s")
    assert {response.status for response in served} == {200}
    assert noticed < DETECTION_SECONDS
    assert recovered < DETECTION_SECONDS


@pytest.mark.parametrize("name", REFUSED)
async def test_refused_connections_are_unavailable_without_a_session(
    cluster: Cluster, app: Server, name: str
) -> None:
    """With an empty pool it is 503 with the reason, although the check's own session lives on."""
    await until(app.port, 200)
    async with probed(app.port):
        with REFUSED[name](cluster):
            noticed = await until(app.port, 503, "database_rejected")
            refused = await burst(app.port, "/query", total=20)
        recovered = await until(app.port, 200)
        served = await burst(app.port, "/query", total=20)

    print(f"{name}, empty pool: noticed {noticed:.2f} s, recovered {recovered:.2f} s")
    assert {response.status for response in refused} == {503}
    assert {response.status for response in served} == {200}
    assert max(noticed, recovered) < DETECTION_SECONDS


@pytest.mark.parametrize("catalog", ["pg_authid", "pg_database"])
async def test_a_lock_on_what_a_login_reads_is_degraded(
    cluster: Cluster, app: Server, catalog: str
) -> None:
    """While VACUUM FULL of a shared catalog holds up new sessions, those of the pool serve."""
    await until(app.port, 200)
    assert (await get(app.port, "/query")).status == 200
    with transaction(cluster.url("postgres"), f"LOCK TABLE {catalog}"):
        noticed = await until(app.port, 200, "database_timeout")
        served = await burst(app.port, "/query", total=20)
    recovered = await until(app.port, 200)

    assert {response.status for response in served} == {200}
    assert max(noticed, recovered) < DETECTION_SECONDS


GIVEN = {
    "database read-only": (
        "ALTER DATABASE groundwork SET default_transaction_read_only = on",
        "ALTER DATABASE groundwork RESET default_transaction_read_only",
        "database_read_only",
    ),
    "role read-only": (
        "ALTER ROLE app SET default_transaction_read_only = on",
        "ALTER ROLE app RESET default_transaction_read_only",
        "database_read_only",
    ),
    "role read-only in this database": (
        "ALTER ROLE app IN DATABASE groundwork SET default_transaction_read_only = on",
        "ALTER ROLE app IN DATABASE groundwork RESET default_transaction_read_only",
        "database_read_only",
    ),
    "search_path": (
        "ALTER ROLE app SET search_path = elsewhere",
        "ALTER ROLE app RESET search_path",
        "migrations_pending",
    ),
}


@pytest.mark.parametrize("name", GIVEN)
async def test_what_sessions_are_given_is_noticed(cluster: Cluster, app: Server, name: str) -> None:
    """A property that only new sessions have makes it unavailable, and recovery renews all."""
    change, reset, reason = GIVEN[name]
    await until(app.port, 200)
    held = [asyncio.create_task(get(app.port, "/hold/1")) for _ in range(5)]
    await asyncio.wait(held)
    async with probed(app.port):
        cluster.run(change, database="postgres")
        noticed = await until(app.port, 503, reason)
        await burst(app.port, "/write", total=10)
        cluster.run(reset, database="postgres")
        recovered = await until(app.port, 200)
        written = await burst(app.port, "/write", total=25, at_once=5)

    print(f"{name}: noticed {noticed:.2f} s, recovered {recovered:.2f} s")
    assert {response.status for response in written} == {200}
    assert max(noticed, recovered) < DETECTION_SECONDS


async def test_it_starts_read_only_and_recovers(cluster: Cluster) -> None:
    """A session that began read-only is not kept as a proof that the server is."""
    change, reset, reason = GIVEN["database read-only"]
    cluster.run(change, database="postgres")
    with serve(APP, DATABASE_URL=cluster.url(), DB_POOL_MAX_SIZE="5") as app:
        await until(app.port, 503, reason)
        refused = await burst(app.port, "/write", total=10)
        cluster.run(reset, database="postgres")
        recovered = await until(app.port, 200)
        written = await burst(app.port, "/write", total=25, at_once=5)

    assert {response.status for response in refused} == {503}
    assert {response.status for response in written} == {200}
    assert recovered < DETECTION_SECONDS


async def test_a_rotated_password_file_is_read_again(cluster: Cluster) -> None:
    """With DATABASE_URL_FILE a new password needs no restart."""
    file = cluster.data / "url"
    file.write_text(cluster.url() + "\n")
    with serve(APP, DATABASE_URL_FILE=str(file), DB_POOL_MAX_SIZE="5") as app:
        await until(app.port, 200)
        async with probed(app.port):
            cluster.run("ALTER ROLE app PASSWORD 'rotated'")
            await until(app.port, 503, "database_rejected")
            file.write_text(cluster.url().replace(PASSWORD, "rotated"))
            recovered = await until(app.port, 200)
            served = await burst(app.port, "/query", total=20)

    assert {response.status for response in served} == {200}
    assert recovered < DETECTION_SECONDS


async def test_a_smart_shutdown_is_unavailable_and_not_delayed(
    cluster: Cluster, app: Server
) -> None:
    """A server that waits for its sessions to end is 503 within 3 s, and ends within 10 s."""
    await until(app.port, 200)
    await burst(app.port, "/query", total=20)
    async with probed(app.port):
        server = cluster.process
        assert server is not None
        started = time.monotonic()
        server.send_signal(signal.SIGTERM)
        noticed = await until(app.port, 503, "database_unreachable")
        while server.poll() is None and time.monotonic() - started < 20:
            await asyncio.sleep(0.05)
        ended = time.monotonic() - started
        cluster.start()
        recovered = await until(app.port, 200)

    print(f"smart shutdown: noticed {noticed:.2f} s, ended {ended:.2f}, recovered {recovered:.2f}")
    assert noticed < 3 + NOISE
    assert ended < 10 + NOISE
    assert recovered < DETECTION_SECONDS
