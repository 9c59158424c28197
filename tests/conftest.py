"""Fixtures: a server, a migrated database, and a connection that is rolled back."""

import dataclasses
import logging
import os
import signal
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast
from unittest.mock import patch
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from groundwork import main
from groundwork.core.config import Settings
from groundwork.core.database import Connection, Connector, Pool
from groundwork.core.environment import unset_pg
from groundwork.core.http.middleware import RequestContext
from groundwork.core.lifecycle import Lifecycle
from groundwork.core.observability.event_loop import LoopMonitor
from groundwork.core.observability.recent import Recent
from groundwork.core.readiness.check import Readiness
from groundwork.core.state import State
from tests.databases import TransactionPool, migrate, new_database, throwaway_server
from tests.loop import Loop
from tests.openapi import description
from tests.servers import Server, serve, wait_until

_MISSING = pytest.StashKey[list[str]]()
# The options with which pytest runs some of the tests, or none.
_PARTS = (
    *("collectonly", "deselect", "ignore", "ignore_glob", "keyword", "lf"),
    *("setuponly", "setupplan", "stepwise"),
)

type Serving = Callable[[str], AbstractAsyncContextManager[httpx.AsyncClient]]


def pytest_configure() -> None:
    """Forget the settings, tracing and PostgreSQL server of the shell, in each worker too."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        del os.environ[name]
    for item in dataclasses.fields(Settings):
        for name in (item.name.upper(), f"{item.name.upper()}_FILE"):
            os.environ.pop(name, None)
    if "TEST_DATABASE_URL" not in os.environ:
        unset_pg()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start one PostgreSQL for all workers, which read its URL from a file."""
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
        stack.callback(started.result)  # raises if it failed


def _publish(url: str, address: Path) -> None:
    address.with_suffix(".new").write_text(url)
    address.with_suffix(".new").rename(address)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Collect from a worker which responses its tests have seen."""
    description.SEEN.update(map(tuple, getattr(node, "workeroutput", {}).get("seen", ())))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run of all tests in which a response was never seen that a handler declares."""
    config = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["seen"] = sorted(description.SEEN)
    elif exitstatus == 0 and config.args_source is config.ArgsSource.TESTPATHS:
        is_part = any(getattr(config.option, name, None) for name in _PARTS)
        is_whole = not is_part and config.option.markexpr in {"", "not faults"}
        if is_whole and (missing := description.never_seen()):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            text = "described, but no test has seen it: "
            config.stash[_MISSING] = [f"{text}{one}" for one in missing]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Name the responses that no test has seen."""
    for line in config.stash.get(_MISSING, []):
        terminalreporter.write_line(line, red=True)


@pytest.fixture
def hangups() -> Iterator[None]:
    """Let SIGHUP reach what a test starts, also where the tests themselves run under nohup."""
    found = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, found)


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, type[Loop]]]:
    """Run the tests on the event loop of production."""
    return "asyncio", {"loop_factory": Loop}


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """Return the URL of TEST_DATABASE_URL's server, or of an embedded one for this run."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
    elif address := os.environ.get("TEST_SERVER_ADDRESS"):
        wait_until(Path(address).exists)
        yield Path(address).read_text()
    else:
        with throwaway_server() as url:
            yield url


@pytest.fixture(scope="session")
def migrated(request: pytest.FixtureRequest, server_url: str) -> Iterator[str]:
    """Return the name of a migrated database to copy; no test connects to it."""
    with new_database(server_url) as url:
        result = migrate(url)
        if result.returncode:
            request.session.shouldfail = "a migration fails, which most tests need"
            pytest.fail(result.stderr, pytrace=False)
        yield urlsplit(url).path[1:]


@pytest.fixture(scope="session")
def database_url(server_url: str, migrated: str) -> Iterator[str]:
    """Return the URL of this run's migrated database, which tests leave unchanged."""
    with new_database(server_url, template=migrated) as url:
        yield url


@pytest.fixture(scope="session")
def server(database_url: str) -> Iterator[Server]:
    """Run `groundwork serve` once, for tests that do not change it."""
    with serve(DATABASE_URL=database_url) as server:
        yield server


@pytest.fixture
def own_database(server_url: str, migrated: str) -> Iterator[str]:
    """Return the URL of a migrated database for one test, to commit data or hold locks."""
    with new_database(server_url, template=migrated) as url:
        yield url


@pytest.fixture
def empty_database(server_url: str) -> Iterator[str]:
    """Return the URL of an empty database for one test."""
    with new_database(server_url) as url:
        yield url


@pytest.fixture
def settings(request: pytest.FixtureRequest, database_url: str) -> Settings:
    """Return development settings, with the changes of the test's parameter."""
    return Settings(database_url=database_url, **getattr(request, "param", {}))


@pytest.fixture
async def transaction_pool(settings: Settings) -> AsyncGenerator[TransactionPool]:
    """Return a pool of one connection, in a transaction that is rolled back after the test."""
    pool = TransactionPool(Connector(settings))
    yield pool
    await pool.close()


@pytest.fixture
async def connection(transaction_pool: TransactionPool) -> Connection:
    """Return the test's connection; everything done on it is rolled back."""
    return await transaction_pool.connection()


@pytest.fixture
def pool(transaction_pool: TransactionPool) -> Pool:
    """Return the application's pool, which acquires the test's connection."""
    return transaction_pool


@pytest.fixture
async def state(settings: Settings, pool: Pool) -> AsyncGenerator[State]:
    """Return the state that the lifespan yields, with the pool that is rolled back."""
    readiness = Readiness(settings, pool, Connector(settings), LoopMonitor())
    yield State(
        settings=settings,
        pool=pool,
        readiness=readiness,
        lifecycle=Lifecycle(settings),
        recent=Recent(),
    )
    readiness.close()


@pytest.fixture
def service(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> RequestContext:
    """Return the service, without its logging configuration: caplog has the log."""
    monkeypatch.setattr(main, "configure_logging", lambda _: None)
    return main.create_app(settings)


@pytest.fixture
def app(service: RequestContext) -> Starlette:
    """Return the service's application; a test may add routes."""
    return service.app


@pytest.fixture
async def client(
    service: RequestContext,
    app: Starlette,  # noqa: ARG001 - a module may have added routes to it
    state: State,
) -> AsyncGenerator[httpx.AsyncClient]:
    """Return a test client, whose requests share the transaction of `connection`."""
    async with client_of(service, state) as client:
        yield client


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Serving:
    """Return a function that runs the service, lifespan included, on any database."""
    monkeypatch.setattr(main, "configure_logging", lambda _: None)

    @asynccontextmanager
    async def serving(url: str) -> AsyncGenerator[httpx.AsyncClient]:
        service = main.create_app(Settings(database_url=url))
        lifespan = service.app.router.lifespan_context(service.app)
        state = cast("State", await lifespan.__aenter__())
        try:
            async with client_of(service, state) as client:
                yield client
        finally:  # like a server: an exception in the test does not reach the lifespan
            await lifespan.__aexit__(None, None, None)

    return serving


@pytest.fixture(autouse=True)
def clean_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Run each test in an empty folder; restore logging and environment afterwards."""
    description.record_reads(monkeypatch)
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with patch.dict(os.environ):  # TEST_DATABASE_URL may need the PG* that a test unsets
        yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def client_of(service: RequestContext, state: State) -> httpx.AsyncClient:
    """Return a client of the service with this state."""

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        description.begin()
        scope["state"] = dict(state)
        await service(scope, receive, send)
        description.end(scope.get("route"))

    return httpx.AsyncClient(
        transport=httpx.ASGITransport(with_state),
        base_url="http://test",
        event_hooks={"response": [description.check]},
    )
