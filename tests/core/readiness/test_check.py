"""What readiness keeps; its responses are tested in tests/health and tests/faults."""

import asyncio
import dataclasses
import logging
import time
from math import inf
from types import SimpleNamespace
from unittest.mock import AsyncMock, Mock

import asyncpg
import pytest

from groundwork.core.config import Settings
from groundwork.core.database import Connection, Connector, Pool
from groundwork.core.database.migration_files import migration_ids
from groundwork.core.observability.event_loop import LoopMonitor
from groundwork.core.observability.logging import request_id
from groundwork.core.readiness import check as core_readiness
from groundwork.core.readiness import connection as check_connection
from groundwork.core.readiness.check import Readiness
from groundwork.core.readiness.connection import CheckConnection
from groundwork.core.readiness.result import ReadyRow, Result
from groundwork.core.tasks import background
from tests.loop import eventually
from tests.servers import PATIENCE

CAUSE = "ConnectionRefusedError: gone"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings with which no check is late on a busy machine."""
    return dataclasses.replace(settings, readiness_timeout=PATIENCE)


@pytest.mark.parametrize(("ttl", "samples"), [(60.0, 1), (0.0, 3)])
async def test_history_has_each_check_once(
    settings: Settings, pool: Pool, ttl: float, samples: int
) -> None:
    """A check leaves one sample with its latency; a result that is reused leaves none."""
    settings = dataclasses.replace(settings, readiness_ttl=ttl)
    readiness = Readiness(settings, pool, Connector(settings), LoopMonitor())

    for _ in range(3):
        await readiness.check()
    await asyncio.sleep(0.05)  # for a check that nobody waited for
    readiness.close()

    assert len(readiness.history.results) == samples
    assert all(0 < (one.latency or 0) < PATIENCE for one in readiness.history.results)
    assert readiness.history.results[-1].checked_at <= time.monotonic()


@pytest.mark.usefixtures("no_session")
async def test_history_has_failed_checks(settings: Settings, pool: Pool) -> None:
    """A check that fails leaves a sample without a latency."""
    nowhere = settings.database_url.replace("groundwork_test", "nowhere")
    settings = dataclasses.replace(settings, database_url=nowhere)
    readiness = Readiness(settings, pool, Connector(settings), LoopMonitor())

    await readiness.check()

    assert [one.latency for one in readiness.history.results] == [None]


async def test_history_is_bounded(settings: Settings, pool: Pool) -> None:
    """However long it runs, it keeps the last 600 checks."""
    settings = dataclasses.replace(settings, readiness_ttl=0)
    readiness = Readiness(settings, pool, Connector(settings), LoopMonitor())
    for _ in range(601):
        await readiness.check()
    readiness.close()

    assert len(readiness.history.results) == 600


@pytest.fixture
def no_session(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pool have no session that could serve."""
    monkeypatch.setattr(pool, "get_idle_size", lambda: 0)
    monkeypatch.setattr(pool, "max_size", 9)


async def checked_once(settings: Settings, pool: Pool, connect: AsyncMock) -> Result:
    """Return what the first check finds, before which the event loop was blocked."""
    monitor = LoopMonitor()
    monitor._blocked = 9.0  # noqa: SLF001
    readiness = Readiness(settings, pool, connect, monitor)
    result = await readiness.check()
    readiness.close()
    return result


@pytest.mark.usefixtures("no_session")
async def test_a_check_that_hangs_is_a_timeout(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a check waits for beyond its deadline, its callers get a result in time."""
    settings = dataclasses.replace(settings, readiness_timeout=0.05)
    monkeypatch.setattr(Readiness, "_query", lambda *_: asyncio.Event().wait())

    result = await checked_once(settings, pool, AsyncMock(side_effect=ConnectionRefusedError))

    assert (result.status, result.reason) == ("unavailable", "database_timeout")
    assert result.cause == "TimeoutError: the check hangs"


async def test_closing_cancels_a_check_under_way(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once shutdown has closed its connection, no check opens another."""
    settings = dataclasses.replace(settings, readiness_timeout=0.05)
    hanging = asyncio.Future[None]()
    monkeypatch.setattr(Readiness, "_query", lambda *_: hanging)
    await checked_once(settings, pool, AsyncMock())
    await asyncio.sleep(0)

    assert hanging.cancelled()


@pytest.mark.usefixtures("no_session")
async def test_a_check_ends_before_its_callers_leave(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that does not respond is a result of the check, not of its callers' timeout."""
    monkeypatch.setattr(core_readiness, "_CHECK_SHARE", 0.01)

    result = await checked_once(settings, pool, AsyncMock(side_effect=asyncio.Event().wait))

    assert (result.status, result.reason) == ("unavailable", "database_timeout")
    assert result.cause == "TimeoutError: no response in time"


@pytest.mark.usefixtures("no_session")
async def test_a_query_that_hangs_has_a_timeout(settings: Settings, pool: Pool) -> None:
    """The first query on a new connection ends after DB_CONNECT_TIMEOUT."""
    settings = dataclasses.replace(settings, db_connect_timeout=0.05)
    silent = Mock(fetchrow=lambda _: asyncio.Event().wait())

    result = await checked_once(settings, pool, AsyncMock(return_value=silent))

    assert result.cause == "TimeoutError: no response within 0.050 s"


async def test_the_next_check_is_not_taken_for_the_one_that_ended(
    settings: Settings, pool: Pool
) -> None:
    """Of two that waited for a check, one starts the next before the other has looked."""
    settings = dataclasses.replace(settings, readiness_ttl=0)
    readiness = Readiness(settings, pool, Connector(settings), LoopMonitor())

    async def check_twice() -> None:
        await readiness.check()
        await readiness.check()

    await asyncio.gather(check_twice(), readiness.check(), readiness.check())
    readiness.close()

    assert [transition.status for transition in readiness.history.transitions] == ["ok"]


async def test_probes_wait_for_the_check_under_way(settings: Settings, pool: Pool) -> None:
    """No probe gets what was found before it, once another check has begun."""
    settings = dataclasses.replace(settings, readiness_ttl=0)
    readiness = Readiness(settings, pool, Connector(settings), LoopMonitor())
    first = await readiness.check()

    found = await asyncio.gather(*(readiness.check() for _ in range(3)))
    readiness.close()

    assert found == [readiness.history.latest] * 3
    assert found[0].checked_at > first.checked_at
    assert len(readiness.history.results) == 2


@pytest.mark.usefixtures("no_session")
async def test_recovery_does_not_wait_for_the_ttl(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long READINESS_TTL is, a second after a check began that found a fault is another."""
    settings = dataclasses.replace(settings, readiness_ttl=60)
    connection = await Connector(settings)()

    async def connect() -> Connection:
        if not readiness.history.results:
            await asyncio.sleep(0.4)
            raise ConnectionRefusedError
        return connection

    readiness = Readiness(settings, pool, connect, LoopMonitor())
    failed = [await readiness.check() for _ in range(2)]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 0.7)
    monkeypatch.setattr(core_readiness, "time", clock)
    recovered = await readiness.check()
    readiness.close()

    assert [result.reason for result in failed] == ["database_unreachable"] * 2
    assert recovered.status == "ok"


@pytest.mark.usefixtures("no_session")
async def test_recovery_does_not_wait_for_a_probe(settings: Settings, pool: Pool) -> None:
    """The service notices by itself that the database is back, however long READINESS_TTL is."""
    settings = dataclasses.replace(settings, readiness_ttl=60)
    connect = AsyncMock(side_effect=[ConnectionRefusedError, await Connector(settings)()])
    readiness = Readiness(settings, pool, connect, LoopMonitor())

    async with background(readiness.keep_checking()):
        await eventually(lambda: readiness.history.latest.status == "ok")
    readiness.close()

    assert [one.status for one in readiness.history.transitions] == ["unavailable", "ok"]


@pytest.mark.usefixtures("no_session")
async def test_a_lost_connection_is_noticed_at_once(settings: Settings, pool: Pool) -> None:
    """The next probe starts a check, whatever READINESS_TTL is."""
    settings = dataclasses.replace(settings, readiness_ttl=60)
    connection = await Connector(settings)()
    connect = AsyncMock(side_effect=[connection, ConnectionRefusedError])
    readiness = Readiness(settings, pool, connect, LoopMonitor())
    assert [(await readiness.check()).status for _ in range(2)] == ["ok", "ok"]

    async with pool.acquire() as other:
        await other.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
    await eventually(connection.is_closed)

    found = await asyncio.gather(*(readiness.check() for _ in range(3)))
    assert {result.reason for result in found} == {"database_unreachable"}
    await readiness.check()
    await asyncio.sleep(0.05)  # for a check that nobody waited for
    assert connect.await_count == 2
    readiness.close()


async def test_a_full_pool_is_degraded(settings: Settings, pool: Pool) -> None:
    """While every connection of the pool is in use, the instance is ready, with the reason."""
    settings = dataclasses.replace(settings, readiness_ttl=0)
    readiness = Readiness(settings, pool, Connector(settings), LoopMonitor())

    async with pool.acquire():
        full = await readiness.check()
    again = await readiness.check()
    readiness.close()

    assert (full.status, full.reason) == ("degraded", "pool_saturated")
    assert (again.status, again.reason) == ("ok", None)


async def test_a_transition_belongs_to_no_request(settings: Settings, pool: Pool) -> None:
    """Its log line has no request ID, also if it is found during a request, as by a signal."""
    readiness, seen = Readiness(settings, pool, AsyncMock(), LoopMonitor()), list[str | None]()
    readiness.history.publish = lambda _: seen.append(request_id.get())  # type: ignore[assignment]
    token = request_id.set("interrupted")
    readiness.drain()
    request_id.reset(token)

    assert seen == [None]


async def test_it_starts_unknown_and_drains_for_good(settings: Settings, pool: Pool) -> None:
    """Before its first check it is starting; draining, it stays so whatever a check finds."""
    readiness = Readiness(settings, pool, Connector(settings), LoopMonitor())
    first = readiness.history.latest
    assert (first.status, first.reason) == ("unavailable", "starting")

    await readiness.check()
    readiness.drain()
    readiness._publish(Result("ok"))  # noqa: SLF001 - a check that was under way
    readiness.close()

    assert (await readiness.check()).reason == "draining"
    changes = [(one.status, one.reason, one.previous) for one in readiness.history.transitions]
    assert changes == [("ok", None, "starting"), ("unavailable", "draining", "ok")]
    assert all(0 <= one.lasted_seconds < PATIENCE for one in readiness.history.transitions)


async def test_transitions_are_bounded(settings: Settings, pool: Pool) -> None:
    """However often it changes, it keeps the last 20."""
    settings = dataclasses.replace(settings, readiness_ttl=0)
    readiness = Readiness(settings, pool, Connector(settings), LoopMonitor())
    for _ in range(11):
        await readiness.check()
        async with pool.acquire():
            await readiness.check()
    readiness.close()

    assert len(readiness.history.transitions) == 20


@pytest.mark.usefixtures("no_session")
async def test_each_change_has_its_line(
    settings: Settings,
    pool: Pool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For the worse it is a warning that says why; connections that may be dead are dropped."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(pool, "expire", expire := Mock())
    settings = dataclasses.replace(settings, readiness_ttl=0)
    answers = [ConnectionRefusedError("gone"), await Connector(settings)()]
    readiness = Readiness(settings, pool, AsyncMock(side_effect=answers), LoopMonitor())
    for _ in range(3):
        await readiness.check()
    readiness.close()

    fields = ("levelno", "message", "reason", "cause", "previous")
    assert [tuple(vars(entry)[name] for name in fields) for entry in caplog.records] == [
        (30, "readiness is unavailable", "database_unreachable", CAUSE, "starting"),
        (20, "readiness is ok", None, None, "database_unreachable"),
    ]
    expire.assert_called_once_with()
    assert 0 < vars(caplog.records[1])["lasted_seconds"] < PATIENCE


def database(
    version: str = "18", *, given: str = "", applied: list[str] | None = None, server: str = "a"
) -> ReadyRow:
    """Return what the check reads."""
    return ReadyRow(
        is_read_only=False,
        postgres_version=version,
        server=server,
        applied=[*migration_ids()] if applied is None else applied,
        session_properties=given,
    )


async def never() -> Connection:
    """Open no connection."""
    await asyncio.Event().wait()
    raise AssertionError


async def check_each(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch, *found: ReadyRow | Exception
) -> tuple[bool, list[Result]]:
    """Return whether sessions were renewed, and what each result of the check's own means."""
    settings = dataclasses.replace(settings, readiness_ttl=0)
    readiness = Readiness(settings, pool, never, LoopMonitor())
    monkeypatch.setattr(readiness._connection, "query", AsyncMock(side_effect=[*found, found[-1]]))  # noqa: SLF001
    results = [await readiness.check() for _ in found]
    renewed = await readiness.sessions_were_renewed()
    readiness.close()
    return renewed, results


@pytest.mark.parametrize(
    "second",
    [database(given="other"), database(applied=[*migration_ids(), "9999.new"])],
    ids=["given", "migrations"],
)
async def test_sessions_are_replaced_when_what_they_were_given_changes(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch, second: ReadyRow
) -> None:
    """When role, host, settings or migrations change, the pool's sessions are renewed."""
    monkeypatch.setattr(pool, "expire", expire := Mock())
    first = database()
    renewed, _ = await check_each(settings, pool, monkeypatch, first, first)
    expire.assert_not_called()
    assert not renewed

    renewed, _ = await check_each(settings, pool, monkeypatch, first, second, second)
    expire.assert_called_once_with()
    assert renewed


async def test_a_check_under_way_may_have_begun_before_the_change(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that fails meanwhile by a plan of before waits for the check after it."""
    before, under_way = database(), asyncio.Event()
    found = [before, before, database(applied=["9999.new"])]

    async def query(*_: float) -> ReadyRow:
        await under_way.wait()
        return found.pop(0)

    readiness = Readiness(settings, pool, never, LoopMonitor())
    monkeypatch.setattr(readiness._connection, "query", query)  # noqa: SLF001
    under_way.set()
    await readiness.check()
    under_way.clear()
    readiness._recheck()  # noqa: SLF001
    await asyncio.sleep(0.01)
    asyncio.get_running_loop().call_later(0.05, under_way.set)

    assert await readiness.sessions_were_renewed()
    readiness.close()


async def test_sessions_of_before_the_first_good_check_are_replaced(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the role was given at startup, such as a wrong search_path, is in the pool's too."""
    monkeypatch.setattr(pool, "expire", expire := Mock())
    error = asyncpg.UndefinedTableError("_yoyo_migration")
    renewed, _ = await check_each(settings, pool, monkeypatch, error, database(), database())

    expire.assert_called_once_with()
    assert renewed


async def test_sessions_that_found_no_table_are_replaced(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests may have opened some while the search_path was wrong, before it was set back."""
    monkeypatch.setattr(pool, "expire", expire := Mock())
    error = asyncpg.UndefinedTableError("_yoyo_migration")
    renewed, _ = await check_each(settings, pool, monkeypatch, database(), error, database())

    expire.assert_called_once_with()
    assert renewed


@pytest.mark.parametrize("error", [ConnectionRefusedError(), TimeoutError()])
async def test_sessions_are_kept_at_the_end_of_an_outage_at_startup(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A database that was out of reach, or slow to connect, has given sessions nothing else."""
    monkeypatch.setattr(pool, "get_idle_size", lambda: 0)
    monkeypatch.setattr(pool, "expire", expire := Mock())
    renewed, _ = await check_each(settings, pool, monkeypatch, error, database(), database())

    expire.assert_called_once_with()  # by the check that failed
    assert not renewed


async def test_sessions_are_replaced_if_an_outage_has_changed_what_they_are_given(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests may have opened some just before the change and the end of the outage."""
    monkeypatch.setattr(pool, "get_idle_size", lambda: 0)
    renewed, _ = await check_each(
        settings, pool, monkeypatch, database(), ConnectionRefusedError(), database(given="other")
    )

    assert renewed


@pytest.mark.parametrize(
    ("found", "calls"),
    [
        ([database(), TimeoutError(), database(server="b")], (1, 1)),
        ([database(), database(server="b")], (1, 1)),
        ([database(), database(given="other")], (0, 1)),
        ([database(), TimeoutError(), database()], (0, 1)),
        ([TimeoutError(), ConnectionRefusedError(), database()], (0, 1)),
        ([database(), asyncpg.InvalidPasswordError(), database()], (0, 0)),
    ],
    ids=["failover", "no outage", "given", "same server", "at startup", "rejected"],
)
async def test_what_may_hang_after_an_outage_is_forgotten(
    settings: Settings,
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
    found: list[ReadyRow | Exception],
    calls: tuple[int, int],
) -> None:
    """The sessions in use on a server that was lost, and the attempts to connect of the outage."""
    monkeypatch.setattr(pool, "get_idle_size", lambda: 0)
    monkeypatch.setattr(pool, "forget_sessions", forget := Mock())
    monkeypatch.setattr(pool, "retry", retry := Mock())
    await check_each(settings, pool, monkeypatch, *found)

    assert (forget.call_count, retry.call_count) == calls


async def test_slow_attempts_go_on_while_sessions_serve(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only when a check gets a session of its own, older attempts are known to hang."""
    monkeypatch.setattr(pool, "retry", retry := Mock())
    slow = TimeoutError()
    _, results = await check_each(settings, pool, monkeypatch, slow, slow, database())

    assert [result.status for result in results] == ["degraded", "degraded", "ok"]
    retry.assert_called_once_with(0.0)


async def test_a_session_of_the_pool_shows_that_those_serve(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a session of its own the check uses an idle one of the pool."""
    error = asyncpg.InvalidPasswordError("wrong")
    _, (result,) = await check_each(settings, pool, monkeypatch, error)

    assert (result.status, result.reason) == ("degraded", "database_rejected")
    assert result.cause == "InvalidPasswordError: wrong"
    assert result.server_version is not None


async def test_sessions_that_serve_are_kept_while_connecting_hangs(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that gets no session of its own in time still queries an idle one of the pool."""
    monkeypatch.setattr(pool, "expire", expire := Mock())
    monkeypatch.setattr(core_readiness, "_CHECK_SHARE", 0.26)  # a quarter is for the pool's
    result = await checked_once(settings, pool, AsyncMock(side_effect=asyncio.Event().wait))

    assert (result.status, result.reason) == ("degraded", "database_timeout")
    assert result.cause == "TimeoutError: no response in time"
    expire.assert_not_called()


async def test_a_check_without_time_left_queries_no_session_of_the_pool(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response that took all the time is the cause, not the moment that was left."""

    async def query(_: object, deadline: float, __: float) -> ReadyRow:
        await asyncio.sleep(deadline - time.monotonic() - 0.01)
        raise TimeoutError("frozen")  # noqa: EM101

    monkeypatch.setattr(CheckConnection, "query", query)
    monkeypatch.setattr(core_readiness, "_CHECK_SHARE", 0.01)
    result = await checked_once(settings, pool, AsyncMock())

    assert (result.status, result.cause) == ("unavailable", "TimeoutError: frozen")


async def test_old_sessions_are_kept_while_there_are_no_new_ones(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While new sessions are rejected the pool's are all there is; later they are renewed."""
    monkeypatch.setattr(pool, "expire", expire := Mock())
    settings = dataclasses.replace(settings, readiness_ttl=0)
    readiness = Readiness(settings, pool, never, LoopMonitor())
    connection = readiness._connection  # noqa: SLF001
    error = asyncpg.InvalidPasswordError("wrong")
    found = [database(), database(given="other"), error, database(given="other")]
    monkeypatch.setattr(connection, "query", AsyncMock(side_effect=found))
    await readiness.check()
    connection.failure, connection.reconnected = error, True
    results = [await readiness.check() for _ in range(2)]
    expire.assert_not_called()
    connection.failure, connection.reconnected = None, False
    results.append(await readiness.check())
    readiness.close()

    assert [one.status for one in results] == ["degraded", "degraded", "ok"]
    expire.assert_called_once_with()


async def test_sessions_in_use_serve_while_new_ones_are_rejected(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every session of the pool in use and the check's own ended, it is no outage."""
    rejected = asyncpg.TooManyConnectionsError("full")
    async with pool.acquire():
        _, (_, busy, gone) = await check_each(
            settings, pool, monkeypatch, database(), rejected, ConnectionRefusedError()
        )
        _, (first,) = await check_each(settings, pool, monkeypatch, rejected)

    assert (busy.status, busy.reason) == ("degraded", "database_rejected")
    assert (gone.status, gone.reason) == ("unavailable", "database_unreachable")
    assert first.status == "unavailable"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (asyncpg.CannotConnectNowError("shutting down"), "database_unreachable"),
        (asyncpg.UndefinedTableError("_yoyo_migration"), "migrations_pending"),
    ],
)
async def test_a_kept_session_hides_nothing_that_a_new_one_meets(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    """It works while its server shuts down, and still has the search_path of its beginning."""
    monkeypatch.setattr(check_connection, "RENEW_SECONDS", 0.0)
    settings = dataclasses.replace(settings, readiness_ttl=0)
    connect = AsyncMock(side_effect=[await Connector(settings)()])
    readiness = Readiness(settings, pool, connect, LoopMonitor())
    await readiness.check()
    connect.side_effect = error
    await readiness.check()
    await eventually(lambda: len(readiness.history.transitions) > 1)
    readiness.close()

    changes = [(one.status, one.reason) for one in readiness.history.transitions]
    assert changes == [("ok", None), ("unavailable", reason)]


async def test_a_late_check_of_a_blocked_loop_is_no_fault_of_the_database(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What timed out while the event loop was blocked is named as that, whatever the pool has."""
    readiness = Readiness(settings, pool, Connector(settings), LoopMonitor())
    await readiness.check()

    result = await checked_while_blocked(readiness, monkeypatch)

    assert pool.get_idle_size()
    assert (result.status, result.reason) == ("degraded", "event_loop_blocked")
    assert result.cause == "the event loop was blocked for 15.00 s"


async def test_a_blocked_loop_is_no_proof_of_the_database(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a database has been reached, or during an outage, it keeps the instance unready."""
    readiness = Readiness(settings, pool, AsyncMock(side_effect=OSError), LoopMonitor())
    starting = await checked_while_blocked(readiness, monkeypatch)
    monkeypatch.undo()
    monkeypatch.setattr(pool, "get_idle_size", lambda: 0)
    readiness._begun = -inf  # noqa: SLF001
    await readiness.check()
    outage = await checked_while_blocked(readiness, monkeypatch)

    assert (starting.status, starting.reason) == ("unavailable", "starting")
    assert (outage.status, outage.reason) == ("unavailable", "database_unreachable")


async def test_late_checks_in_a_row_are_unavailable(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instance that is too slow for any check may have no database: 503 from the fourth on."""
    readiness = Readiness(settings, pool, Connector(settings), LoopMonitor())
    await readiness.check()

    results = [await checked_while_blocked(readiness, monkeypatch) for _ in range(5)]

    assert {one.reason for one in results} == {"event_loop_blocked"}
    assert [one.status for one in results] == ["degraded"] * 3 + ["unavailable"] * 2


async def checked_while_blocked(readiness: Readiness, monkeypatch: pytest.MonkeyPatch) -> Result:
    """Return the result after a check that was late because the event loop was blocked."""

    async def block(*_: float) -> ReadyRow:
        readiness.loop_monitor._blocked += 15  # noqa: SLF001
        raise TimeoutError

    monkeypatch.setattr(readiness._connection, "query", block)  # noqa: SLF001
    readiness._begun = -inf  # noqa: SLF001
    result = await readiness.check()
    readiness.close()
    return result


async def test_a_check_that_is_due_waits_for_no_second_to_pass(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the latest result is a moment too young, the next look at it follows soon."""
    monkeypatch.setattr(Readiness, "check", check := AsyncMock())
    readiness = Readiness(settings, pool, never, LoopMonitor())
    started = time.monotonic()
    async with background(readiness.keep_checking()):
        await eventually(lambda: check.await_count == 3)
    readiness.close()

    assert time.monotonic() - started < 1.5


async def test_it_checks_without_a_probe(settings: Settings, pool: Pool) -> None:
    """It checks all the time, and at once after a failed renewal."""
    readiness = Readiness(settings, pool, Connector(settings), LoopMonitor())
    checking = asyncio.create_task(readiness.keep_checking())
    await eventually(lambda: readiness.history.latest.status == "ok")
    readiness._recheck()  # noqa: SLF001
    assert not await readiness.sessions_were_renewed()
    checking.cancel()
    readiness.close()

    assert len(readiness.history.results) >= 2
