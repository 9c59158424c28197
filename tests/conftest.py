"""Fixtures: a server, a migrated database, and a connection that is rolled back."""

import dataclasses
import logging
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from groundwork import main
from groundwork.core.config import Settings
from groundwork.core.database.connections import Connection, Connector, Pool
from groundwork.core.http.middleware import RequestContext
from groundwork.core.lifecycle import Lifecycle
from groundwork.core.readiness.check import Readiness
from groundwork.core.state import State
from tests.databases import TransactionPool, migrate, new_database, throwaway_server
from tests.loop import Loop
from tests.openapi import description
from tests.servers import Server, serve, wait_until

type Serving = Callable[[str], AbstractAsyncContextManager[httpx.AsyncClient]]


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start one server for all workers, which start meanwhile and find its address in a file."""
    workers = getattr(session.config.option, "numprocesses", None)
    if workers and "TEST_DATABASE_URL" not in os.environ:
        stack = ExitStack()
        session.config.add_cleanup(stack.close)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        address = Path(stack.enter_context(TemporaryDirectory())) / "address"
        patch.setenv("TEST_SERVER_ADDRESS", str(address))
        started = stack.enter_context(ThreadPoolExecutor()).submit(
            lambda: _publish(stack.enter_context(throwaway_server()), address)
        )
        stack.callback(started.result)  # where it failed, it says so


def _publish(url: str, address: Path) -> None:
    address.with_suffix(".new").write_text(url)
    address.with_suffix(".new").rename(address)


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, type[Loop]]]:
    """Run the tests on the event loop that production has."""
    return "asyncio", {"loop_factory": Loop}


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """Give the server of TEST_DATABASE_URL, or an embedded one for this run."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
    elif address := os.environ.get("TEST_SERVER_ADDRESS"):
        wait_until(Path(address).exists)
        yield Path(address).read_text()
    else:
        with throwaway_server() as url:
            yield url


@pytest.fixture(scope="session")
def migrated(server_url: str) -> Iterator[str]:
    """Give the name of a migrated database to copy; nobody connects to it."""
    with new_database(server_url) as url:
        migrate(url).check_returncode()
        yield urlsplit(url).path[1:]


@pytest.fixture(scope="session")
def database_url(server_url: str, migrated: str) -> Iterator[str]:
    """Give a migrated database of this run's own; tests leave nothing in it."""
    with new_database(server_url, template=migrated) as url:
        yield url


@pytest.fixture(scope="session")
def server(database_url: str) -> Iterator[Server]:
    """Give a running `groundwork serve`, for tests that leave it as it is."""
    with serve(DATABASE_URL=database_url) as server:
        yield server


@pytest.fixture
def own_database(server_url: str, migrated: str) -> Iterator[str]:
    """Give a migrated database for one test: committed data, locks, several connections."""
    with new_database(server_url, template=migrated) as url:
        yield url


@pytest.fixture
def empty_database(server_url: str) -> Iterator[str]:
    """Give a database without a table."""
    with new_database(server_url) as url:
        yield url


@pytest.fixture
def settings(database_url: str) -> Settings:
    """Give development's settings."""
    return Settings(database_url=database_url)


@pytest.fixture
async def transaction_pool(settings: Settings) -> AsyncGenerator[TransactionPool]:
    """Give what lends a connection, in a transaction that is rolled back after the test."""
    pool = TransactionPool(Connector(settings))
    yield pool
    await pool.close()


@pytest.fixture
async def connection(transaction_pool: TransactionPool) -> Connection:
    """Give the test's connection: whatever is done on it is rolled back."""
    return await transaction_pool.connection()


@pytest.fixture
def pool(transaction_pool: TransactionPool) -> Pool:
    """Give what the application takes for its pool, and is that connection."""
    return cast("Pool", transaction_pool)


@pytest.fixture
async def state(settings: Settings, pool: Pool) -> AsyncGenerator[State]:
    """Give what the lifespan would give, with the pool that rolls back."""
    readiness = Readiness(settings, pool, Connector(settings))
    yield State(
        settings=settings,
        pool=pool,
        readiness=readiness,
        lifecycle=Lifecycle(settings),
    )
    readiness.close()


@pytest.fixture
def service(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> RequestContext:
    """Give the whole service, its log left to caplog."""
    monkeypatch.setattr(main, "configure_logging", lambda _: None)
    return main.create_app(settings)


@pytest.fixture
def app(service: RequestContext) -> Starlette:
    """Give the application in it; a test may add a route."""
    return service.app


@pytest.fixture
async def client(
    service: RequestContext,
    app: Starlette,  # noqa: ARG001 - a module may have added routes to it
    state: State,
) -> AsyncGenerator[httpx.AsyncClient]:
    """Give a client of the service that sees and keeps what the test's connection does."""
    async with client_of(service, state) as client:
        yield client


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Serving:
    """Give what runs the service in this process, its lifespan included, on any database."""
    monkeypatch.setattr(main, "configure_logging", lambda _: None)

    @asynccontextmanager
    async def serving(url: str) -> AsyncGenerator[httpx.AsyncClient]:
        service = main.create_app(Settings(database_url=url))
        lifespan = service.app.router.lifespan_context(service.app)
        state = cast("State", await lifespan.__aenter__())
        try:
            async with client_of(service, state) as client:
                yield client
        finally:  # as a server does it: what a test meets inside is not the lifespan's
            await lifespan.__aexit__(None, None, None)

    return serving


@pytest.fixture(autouse=True)
def clean_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Run each test in an empty folder, without settings, and with the logging it found."""
    monkeypatch.chdir(tmp_path)
    for item in dataclasses.fields(Settings):
        monkeypatch.delenv(item.name.upper(), raising=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def client_of(service: RequestContext, state: State) -> httpx.AsyncClient:
    """Return a client of the service that has this state."""

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = dict(state)
        await service(scope, receive, send)

    return httpx.AsyncClient(
        transport=httpx.ASGITransport(with_state),
        base_url="http://test",
        event_hooks={"response": [description.check]},
    )
