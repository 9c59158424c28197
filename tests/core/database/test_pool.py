"""The connection pool, over fake connections."""

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator
from typing import Any, cast
from unittest.mock import AsyncMock, Mock

import asyncpg
import pytest
from prometheus_client import REGISTRY

from groundwork.core.config import Settings
from groundwork.core.database import Connector, Pool, UnavailableError
from groundwork.core.database import pool as pool_module
from groundwork.core.database import waiters as waiters_module
from groundwork.core.database.errors import describe
from groundwork.core.database.waiters import client_disconnect


def connection() -> Mock:
    """Return an open connection."""
    return Mock(
        is_closed=Mock(return_value=False),
        is_in_transaction=Mock(return_value=False),
        close=AsyncMock(),
        execute=AsyncMock(),
    )


class Server:
    """What the pool connects to: makes connections, or fails."""

    def __init__(self) -> None:
        self.made: list[Mock] = []
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def connect(self) -> Any:
        """Open a connection when the gate is open."""
        await self.gate.wait()
        if self.failure:
            raise self.failure
        self.made.append(connection())
        return self.made[-1]


@pytest.fixture
def server() -> Server:
    """Return a server that accepts connections."""
    return Server()


@pytest.fixture
async def pool(server: Server) -> AsyncGenerator[Pool]:
    """Return a pool of two connections whose waits last 0.2 s."""
    pool = Pool(server.connect, 2, 0.2)
    yield pool
    await pool.close()


async def hold(pool: Pool, until: asyncio.Event) -> None:
    """Use a connection until an event."""
    async with pool.acquire():
        await until.wait()


async def execute(pool: Pool, statement: str = "x") -> None:
    """Run a statement on a connection of its own."""
    async with pool.acquire() as connection:
        await connection.execute(statement)


def sample(name: str, **labels: str) -> float:
    """Return the value of a metric of the pool."""
    labels["db_client_connection_pool_name"] = "groundwork"
    value = REGISTRY.get_sample_value(f"db_client_connection_{name}", labels)
    assert value is not None
    return value


async def test_a_connection_is_opened_once_and_reused(pool: Pool, server: Server) -> None:
    """The pool opens what it needs, and the last one used is used again."""
    for _ in range(3):
        async with pool.acquire() as acquired:
            assert acquired is server.made[0]
            assert (pool.get_size(), pool.get_idle_size()) == (1, 0)

    assert (len(server.made), pool.get_size(), pool.get_idle_size()) == (1, 1, 1)
    assert pool.max_size == 2


async def test_a_full_pool_is_waited_for(pool: Pool, server: Server) -> None:
    """Who comes third gets the first connection that is released; the metrics show it."""
    done, waited = asyncio.Event(), sample("wait_time_seconds_sum")
    holders = [asyncio.create_task(hold(pool, done)) for _ in range(2)]
    await asyncio.sleep(0.01)
    third = asyncio.create_task(hold(pool, done))
    await asyncio.sleep(0.01)
    assert sample("pending_requests") == 1
    done.set()
    await asyncio.gather(*holders, third)

    states = [sample("count", db_client_connection_state=state) for state in ("idle", "used")]
    assert (len(server.made), states) == (2, [2, 0])
    assert 0.005 < sample("wait_time_seconds_sum") - waited < 5


async def test_a_burst_opens_no_more_than_the_pool_may_have(pool: Pool, server: Server) -> None:
    """DB_POOL_MAX_SIZE holds while connections are being opened, too."""
    server.gate.clear()
    done = asyncio.Event()
    holders = [asyncio.create_task(hold(pool, done)) for _ in range(5)]
    await asyncio.sleep(0.01)
    server.gate.set()
    await asyncio.sleep(0.01)
    done.set()
    await asyncio.gather(*holders)

    assert len(server.made) == 2


async def test_a_wait_ends_after_its_timeout(pool: Pool) -> None:
    """Without a connection in DB_POOL_TIMEOUT it is an error, and the waiter leaves the queue."""
    done = asyncio.Event()
    holders = [asyncio.create_task(hold(pool, done)) for _ in range(2)]
    await asyncio.sleep(0.01)
    started = time.monotonic()
    with pytest.raises(UnavailableError) as caught:
        async with pool.acquire():
            pytest.fail("there is none")
    assert 0.15 < time.monotonic() - started < 5
    done.set()
    await asyncio.gather(*holders)

    assert caught.value.reason == "pool_saturated"
    assert str(caught.value.__cause__) == "no connection within DB_POOL_TIMEOUT"
    assert pool.get_idle_size() == 2


async def test_a_wait_that_ends_leaves_nothing_behind(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """Its client is watched once, by a task that ends with it; a metric counts its timeout."""
    before, timeouts = asyncio.all_tasks(), sample("timeouts_total")
    watch = AsyncMock(side_effect=asyncio.Event().wait)
    token = client_disconnect.set(watch)
    async with pool.acquire(), pool.acquire():
        with pytest.raises(UnavailableError):
            await execute(pool)
    client_disconnect.reset(token)
    await asyncio.sleep(0.01)

    assert (watch.await_count, sample("timeouts_total")) == (1, timeouts + 1)
    assert (asyncio.all_tasks(), caplog.messages) == (before, [])


async def test_an_attempt_that_fails_is_not_repeated_for_nobody(pool: Pool, server: Server) -> None:
    """The request that it was for has failed, so the next attempt begins with the next request."""
    server.failure, connect = OSError(), AsyncMock(side_effect=server.connect)
    pool._connect = connect  # noqa: SLF001
    with pytest.raises(UnavailableError):
        await execute(pool)
    await asyncio.sleep(0.01)

    assert connect.await_count == 1


async def test_a_connect_that_hangs_is_a_timeout(pool: Pool, server: Server) -> None:
    """Where no session exists at all the database is what is slow, not the pool."""
    server.gate.clear()
    with pytest.raises(UnavailableError) as caught:
        await execute(pool)
    server.gate.set()
    await asyncio.sleep(0.01)

    assert caught.value.reason == "database_timeout"
    assert pool.get_idle_size() == 1  # it came too late, and is kept for the next


async def test_a_failed_connect_fails_all_who_wait(pool: Pool, server: Server) -> None:
    """Without a session nothing will be released, so each gets the reason at once."""
    server.failure = asyncpg.InvalidPasswordError()
    results = await asyncio.gather(*(execute(pool) for _ in range(5)), return_exceptions=True)

    for result in results:
        assert isinstance(result, UnavailableError)
        assert result.reason == "database_rejected"
        assert result.__cause__ is server.failure


async def test_a_lost_session_in_use_delays_no_failure(pool: Pool, server: Server) -> None:
    """It serves no other request, so each that comes in a moment gets the reason at once too."""
    reasons = list[str]()
    async with pool.acquire():
        server.made[0].is_closed.return_value = True
        server.failure = ConnectionRefusedError()
        for _ in range(2):
            with pytest.raises(UnavailableError) as caught:
                await execute(pool)
            reasons.append(caught.value.reason)

    assert reasons == ["database_unreachable"] * 2


async def test_requests_of_an_outage_share_an_attempt(server: Server) -> None:
    """While no connection can be opened, one attempt at a time finds out when one can."""
    connect, done = AsyncMock(side_effect=server.connect), asyncio.Event()
    pool = Pool(connect, max_size=4, timeout=5)
    server.failure = ConnectionRefusedError()
    with pytest.raises(UnavailableError):
        await execute(pool)
    server.gate.clear()
    waiting = [asyncio.create_task(hold(pool, done)) for _ in range(4)]
    await asyncio.sleep(0.01)
    assert connect.call_count == 2
    server.failure = None
    server.gate.set()
    await asyncio.sleep(0.01)
    done.set()
    await asyncio.gather(*waiting)

    assert len(server.made) == 4


async def test_attempts_that_hang_take_no_place_after_an_outage(pool: Pool, server: Server) -> None:
    """They are cancelled, and new ones serve all who wait."""
    server.gate.clear()
    waiting = [asyncio.create_task(execute(pool)) for _ in range(3)]
    await asyncio.sleep(0.01)
    late, server.gate = server.gate, asyncio.Event()
    server.gate.set()
    pool.retry(time.monotonic())
    await asyncio.gather(*waiting)
    late.set()
    await asyncio.sleep(0.01)

    assert len(server.made) == pool.get_size() == 2


async def test_a_closed_pool_opens_no_connection(pool: Pool, server: Server) -> None:
    """An attempt that is under way at shutdown is cancelled."""
    server.gate.clear()
    waiting = asyncio.create_task(execute(pool))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await pool.close()
    server.gate.set()
    await asyncio.sleep(0.01)

    assert not server.made


async def test_a_closed_pool_opens_none_for_who_waits(pool: Pool, server: Server) -> None:
    """A request that still waits gets no connection in place of one that was closed."""
    async with pool.acquire(), pool.acquire():
        waiting = asyncio.create_task(execute(pool))
        await asyncio.sleep(0.01)
        await pool.close()
        server.made[0].is_closed.return_value = server.made[1].is_closed.return_value = True
    with pytest.raises(UnavailableError):
        await waiting

    assert len(server.made) == 2


async def test_an_attempt_that_hangs_is_not_the_last(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an outage that drops packets another attempt starts each second, for all who wait."""
    monkeypatch.setattr(pool_module, "_RETRY_SECONDS", 0.2)
    connect = AsyncMock(side_effect=server.connect)
    pool, done = Pool(connect, max_size=9, timeout=5), asyncio.Event()
    server.failure = TimeoutError()
    with pytest.raises(UnavailableError):
        await execute(pool)
    server.gate.clear()
    waiting = [asyncio.create_task(hold(pool, done))]
    await asyncio.sleep(0.01)
    counts = [connect.call_count]
    waiting += [asyncio.create_task(hold(pool, done)) for _ in range(3)]
    for seconds in (0.3, 0.2):
        await asyncio.sleep(seconds)
        counts.append(connect.call_count)
    assert counts == [2, 3, 4]
    server.gate.set()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_an_attempt_that_fails_leaves_the_others_their_time() -> None:
    """Of two requests both are served, where only one of two connections can be opened."""

    async def fail() -> Any:
        raise asyncpg.TooManyConnectionsError

    attempts = [fail(), asyncio.sleep(0.02, connection())]
    pool = Pool(Mock(side_effect=attempts), max_size=2, timeout=0.2)

    await asyncio.gather(execute(pool), execute(pool))

    assert pool.get_size() == 1


async def test_a_server_that_rejects_connections_is_not_flooded(
    pool: Pool, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a session serves, a failed attempt is repeated a second later, not at once."""
    connect = AsyncMock(side_effect=[await server.connect(), *[OSError()] * 99])
    monkeypatch.setattr(pool, "_connect", connect)
    async with pool.acquire():
        with pytest.raises(UnavailableError):
            await execute(pool)

    assert connect.await_count == 2


async def test_a_failed_connect_waits_while_a_session_serves(
    pool: Pool, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While new connections fail, requests share those that live; later it is tried again."""
    monkeypatch.setattr(pool_module, "_RETRY_SECONDS", 0.05)
    done = asyncio.Event()
    holder = asyncio.create_task(hold(pool, done))
    await asyncio.sleep(0.01)
    server.failure = asyncpg.TooManyConnectionsError()
    waiting = asyncio.create_task(hold(pool, done))
    early = asyncio.create_task(hold(pool, done))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    server.failure = None
    await asyncio.sleep(0.1)
    assert len(server.made) == 2
    done.set()
    await asyncio.gather(holder, waiting, early)


async def test_a_retry_that_fails_slowly_is_not_the_last(
    pool: Pool, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that waits beside a session in use gets a connection once one can be opened."""
    monkeypatch.setattr(pool_module, "_RETRY_SECONDS", 0.02)
    async with pool.acquire():
        server.failure = ConnectionRefusedError()
        waiting = asyncio.create_task(execute(pool))
        await asyncio.sleep(0.01)
        server.gate.clear()  # the retry takes longer than the pause after the failure
        await asyncio.sleep(0.1)
        server.gate.set()
        await asyncio.sleep(0.01)
        server.failure = None
        await waiting

    assert len(server.made) == 2


async def test_a_retry_that_connects_opens_one_for_each_waiter(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that came in the pause before it waits for none that others use."""
    monkeypatch.setattr(pool_module, "_RETRY_SECONDS", 0.05)
    pool, done = Pool(server.connect, max_size=4, timeout=5), asyncio.Event()
    holders = []
    for failure in (None, asyncpg.TooManyConnectionsError(), None, None):
        server.failure = failure
        holders.append(asyncio.create_task(hold(pool, done)))
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert len(server.made) == 4
    done.set()
    await asyncio.gather(*holders)


async def test_what_cannot_be_served_in_time_is_refused_at_once(pool: Pool) -> None:
    """The queue takes as many as DB_POOL_TIMEOUT allows by the time that a use takes."""
    pool._waiters.mean_use = 0.3  # noqa: SLF001 - seconds
    done = asyncio.Event()
    started = asyncio.get_running_loop().time()
    tasks = [asyncio.create_task(hold(pool, done)) for _ in range(2)]
    await asyncio.sleep(0.01)
    tasks += [asyncio.create_task(hold(pool, done)) for _ in range(4)]
    await asyncio.sleep(0.05)
    refused = [one for one in tasks if one.done()]
    done.set()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert len(refused) == 2
    assert all(isinstance(one.exception(), UnavailableError) for one in refused)
    assert asyncio.get_running_loop().time() - started < 5


async def test_a_long_use_refuses_none_while_there_is_room(server: Server) -> None:
    """After a use of minutes too, a burst of requests gets the connections that can be opened."""
    pool, done = Pool(server.connect, max_size=9, timeout=5), asyncio.Event()
    pool._waiters.mean_use = 30.0  # noqa: SLF001 - seconds: one in ten took 300
    tasks = [asyncio.create_task(hold(pool, done)) for _ in range(9)]
    await asyncio.sleep(0.01)
    done.set()
    await asyncio.gather(*tasks)

    assert pool.get_size() == 9


async def test_the_queue_is_bounded(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the uses took, only so many wait."""
    monkeypatch.setattr(waiters_module, "_QUEUE_PER_CONNECTION", 1)
    done = asyncio.Event()
    tasks = [asyncio.create_task(hold(pool, done)) for _ in range(2)]
    await asyncio.sleep(0.01)
    tasks += [asyncio.create_task(hold(pool, done)) for _ in range(3)]
    await asyncio.sleep(0.01)
    refused = [one for one in tasks if one.done()]
    done.set()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert len(refused) == 1


async def test_a_waiter_whose_client_disconnects_leaves(pool: Pool) -> None:
    """It leaves the queue with the exception that the disconnect raises."""

    async def leave() -> Any:
        await asyncio.sleep(0.01)
        raise ConnectionAbortedError

    done = asyncio.Event()
    holders = [asyncio.create_task(hold(pool, done)) for _ in range(2)]
    await asyncio.sleep(0.01)
    token = client_disconnect.set(leave)
    with pytest.raises(ConnectionAbortedError):
        await execute(pool)
    client_disconnect.reset(token)
    assert sample("pending_requests") == 0
    done.set()
    await asyncio.gather(*holders)


async def test_a_long_timeout_delays_no_disconnect(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a long DB_POOL_TIMEOUT too, a request whose client has disconnected leaves soon."""
    monkeypatch.setattr(waiters_module, "_TURN_SECONDS", 0.01)
    token = client_disconnect.set(AsyncMock(side_effect=ConnectionAbortedError))
    with pytest.raises(ConnectionAbortedError):
        async with asyncio.timeout(5):
            await waiters_module.Waiters(1, 600, (), Mock()).wait()
    client_disconnect.reset(token)


async def test_a_blocked_event_loop_ends_no_wait(pool: Pool) -> None:
    """The time of a wait does not run while the event loop is blocked, as nothing is released."""
    done = asyncio.Event()
    holders = [asyncio.create_task(hold(pool, done)) for _ in range(2)]
    await asyncio.sleep(0.01)
    waiting = asyncio.create_task(hold(pool, done))
    await asyncio.sleep(0.01)
    time.sleep(0.5)
    done.set()
    await asyncio.gather(*holders, waiting)


async def test_a_cancelled_waiter_passes_its_connection_on(pool: Pool, server: Server) -> None:
    """A connection that is given to someone who is just cancelled is not lost."""
    done, later = asyncio.Event(), asyncio.Event()
    holders = [asyncio.create_task(hold(pool, done)) for _ in range(2)]
    await asyncio.sleep(0.01)
    cancelled = [asyncio.create_task(hold(pool, later)) for _ in range(3)]
    await asyncio.sleep(0.01)
    done.set()
    await asyncio.gather(*holders)
    for task in cancelled:
        task.cancel()
    await asyncio.gather(*cancelled, return_exceptions=True)
    await asyncio.sleep(0.01)

    async with asyncio.timeout(5):
        await execute(pool)
    assert len(server.made) <= 4


async def test_the_first_waiter_is_served_first(pool: Pool) -> None:
    """A request that comes later waits longer."""
    waiters = pool._waiters  # noqa: SLF001
    waiting = [asyncio.create_task(waiters.wait()) for _ in range(2)]
    await asyncio.sleep(0.01)
    waiters.give(connection())
    await asyncio.sleep(0.01)

    assert [one.done() for one in waiting] == [True, False]
    waiting[1].cancel()


async def test_a_waiter_that_is_cancelled_as_it_fails_is_cancelled(pool: Pool) -> None:
    """Else it would go on after its error, although its request was ended."""
    waiters = pool._waiters  # noqa: SLF001
    waiting = asyncio.create_task(waiters.wait())
    await asyncio.sleep(0.01)
    waiters.fail(OSError())
    waiting.cancel()

    assert [type(one) for one in await asyncio.gather(waiting, return_exceptions=True)] == [
        asyncio.CancelledError
    ]


@pytest.mark.parametrize(("expirations", "left"), [(0, 2), (1, 0)])
async def test_a_connection_given_to_a_cancelled_waiter_is_released(
    pool: Pool, expirations: int, left: int
) -> None:
    """Cancelled in the moment it gets one, a request leaves it to the next, unless it is old."""
    async with pool.acquire(), pool.acquire():
        waiting = asyncio.create_task(execute(pool))
        await asyncio.sleep(0.01)
    for _ in range(expirations):
        pool.expire()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert waiting.cancelled()
    assert pool.get_size() == pool.get_idle_size() == left


async def test_a_waiter_that_was_just_cancelled_is_passed_over(pool: Pool) -> None:
    """It gets neither a connection nor an error: the connection is idle for the next."""
    waiters = pool._waiters  # noqa: SLF001
    waiting = [asyncio.create_task(waiters.wait()) for _ in range(3)]
    await asyncio.sleep(0.01)
    waiting[0].cancel()
    pool._sessions[first := connection()] = 0  # noqa: SLF001
    waiters.give(first)
    waiting[1].cancel()
    waiting[2].cancel()
    waiters.fail(OSError())
    results = await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(one) for one in results] == [asyncio.CancelledError] * 3
    assert waiters.idle == [first]
    waiters.idle.clear()


async def test_closed_connections_are_replaced(pool: Pool, server: Server) -> None:
    """One that ended while it was idle, or in use, is not given out again."""
    for number in range(3):
        async with pool.acquire() as acquired:
            assert acquired is server.made[number]
        server.made[number].is_closed.return_value = True
        assert pool.get_idle_size() == 0
    async with pool.acquire():
        server.made[3].is_closed.return_value = True
    await execute(pool)

    assert [one.is_closed() for one in server.made] == [True, True, True, True, False]
    assert pool.get_size() == 1


async def test_a_closed_connection_is_given_to_no_waiter(pool: Pool, server: Server) -> None:
    """One that ended while it was in use makes room for a new one."""
    done = asyncio.Event()
    holders = [asyncio.create_task(hold(pool, done)) for _ in range(2)]
    await asyncio.sleep(0.01)
    waiting = asyncio.create_task(execute(pool))
    await asyncio.sleep(0.01)
    for one in server.made:
        one.is_closed.return_value = True
    done.set()
    await asyncio.gather(*holders, waiting)

    assert [one.execute.await_count for one in server.made] == [0, 0, 1]


async def test_the_connection_used_last_is_used_first(pool: Pool, server: Server) -> None:
    """The others stay idle, so that all are closed once they expire."""
    async with pool.acquire() as first, pool.acquire():
        pass
    async with pool.acquire() as again:
        pass
    pool.expire()
    await asyncio.sleep(0.01)

    assert again is first
    assert [one.close.await_count for one in server.made] == [1, 1]


async def test_each_use_changes_the_mean_by_a_tenth(pool: Pool) -> None:
    """How long a request has to wait is estimated by the latest uses."""
    pool._waiters.mean_use = 1.0  # noqa: SLF001 - seconds
    async with pool.acquire():
        await asyncio.sleep(0.5)

    assert pool._waiters.mean_use == pytest.approx(0.95, abs=0.02)  # noqa: SLF001


async def test_expired_connections_are_replaced(
    pool: Pool, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Idle ones are closed at once, those in use when they are released, without a word."""
    done = asyncio.Event()
    holder = asyncio.create_task(hold(pool, done))
    await asyncio.sleep(0.01)
    await execute(pool)
    pool.expire()
    await asyncio.sleep(0.01)
    assert [one.close.await_count for one in server.made] == [0, 1]
    done.set()
    await holder
    await asyncio.sleep(0.01)

    assert [one.close.await_count for one in server.made] == [1, 1]
    assert (pool.get_size(), caplog.messages) == (0, [])


async def test_forgotten_connections_take_nobodys_place(pool: Pool, server: Server) -> None:
    """Those who wait get new ones at once; what was in use is closed when it is released."""
    done = asyncio.Event()
    holders = [asyncio.create_task(hold(pool, done)) for _ in range(2)]
    await asyncio.sleep(0.01)
    waiting = [asyncio.create_task(execute(pool)) for _ in range(2)]
    await asyncio.sleep(0.01)
    pool.forget_sessions()
    pool.retry(time.monotonic())
    await asyncio.wait_for(asyncio.gather(*waiting), 5)
    done.set()
    await asyncio.gather(*holders)
    await asyncio.sleep(0.01)

    assert [one.close.await_count for one in server.made[:2]] == [1, 1]
    assert pool.get_size() == pool.get_idle_size() == len(server.made) - 2


async def test_a_slow_attempt_is_kept_after_an_outage(server: Server) -> None:
    """One that is no older than the check's own is not begun again, and its session is kept."""
    pool = Pool(connect := AsyncMock(side_effect=server.connect), max_size=2, timeout=0.2)
    server.gate.clear()
    since = time.monotonic()
    user = asyncio.create_task(execute(pool))
    await asyncio.sleep(0.01)
    pool.expire()
    pool.retry(since)
    server.gate.set()
    await user
    await execute(pool)

    assert connect.call_count == pool.get_size() == 1


async def test_an_exception_in_a_transaction_is_warning_enough(
    pool: Pool, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """The connection is closed too, but that changes are lost is no surprise then."""
    await execute(pool)
    server.made[0].is_in_transaction.return_value = True
    server.made[0].execute.side_effect = ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        await execute(pool)
    await asyncio.sleep(0.01)

    server.made[0].close.assert_awaited_once()
    assert not caplog.messages


async def test_a_connection_in_a_transaction_is_closed(
    pool: Pool, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """What was left open is rolled back by the server; a warning says that its changes are lost."""
    async with pool.acquire():
        server.made[0].is_in_transaction.return_value = True
    await asyncio.sleep(0.01)

    assert caplog.messages == ["rolling back a transaction that was left open"]
    server.made[0].close.assert_awaited_once()
    assert pool.get_size() == 0


@pytest.mark.parametrize(
    ("error", "size"),
    [(asyncpg.ReadOnlySQLTransactionError, 0), (asyncpg.UniqueViolationError, 1)],
)
async def test_a_read_only_connection_is_closed(
    pool: Pool, server: Server, error: type[Exception], size: int
) -> None:
    """One that refused to write is not reused: a new one may be writable. Other errors are none."""
    with pytest.raises(error):
        async with pool.acquire():
            raise error
    await asyncio.sleep(0.01)

    assert server.made[0].close.await_count == 1 - size
    assert pool.get_size() == size


@pytest.mark.parametrize(
    ("error", "closed", "raised"),
    [
        (TimeoutError(), False, TimeoutError),
        (ConnectionResetError(), True, UnavailableError),
        (asyncpg.InterfaceError("closed"), True, UnavailableError),
        (asyncpg.InterfaceError("wrong call"), False, asyncpg.InterfaceError),
        (FileNotFoundError(), False, FileNotFoundError),
        (ValueError(), False, ValueError),
        (asyncpg.UniqueViolationError(), False, asyncpg.UniqueViolationError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_an_error_of_the_connection_is_translated(
    pool: Pool, server: Server, error: Exception, closed: object, raised: type[Exception]
) -> None:
    """What a closed connection raises is the database's; all else is as it was."""

    async def fail() -> None:
        async with pool.acquire():
            server.made[0].is_closed.return_value = closed
            raise error

    with pytest.raises(raised):
        await fail()


async def test_the_end_of_a_transaction_hides_no_cause(settings: Settings) -> None:
    """A transaction whose session the server ends says why, however deep it is."""
    pool = Pool(Connector(settings), 1, 5.0)

    async def use() -> None:
        async with pool.acquire() as connection, connection.transaction(), connection.transaction():
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(UnavailableError) as caught:
        await use()
    await pool.close()

    assert caught.value.reason == "database_unreachable"
    assert "administrator command" in str(caught.value.__cause__)


async def test_a_session_that_was_ended_while_idle_is_named(settings: Settings) -> None:
    """Until such a connection is closed, the driver calls it busy; the cause says what it is."""
    pool = Pool(Connector(settings), 1, 5.0)
    async with pool.acquire() as connection:
        fatal = b"SFATAL\0C57P01\0Mterminating\0\0"
        protocol = cast("Any", connection)._protocol  # noqa: SLF001 - no server waits so long
        protocol.data_received(b"E%b%b" % ((len(fatal) + 4).to_bytes(4), fatal))

    with pytest.raises(UnavailableError) as caught:
        await execute(pool, "SELECT 1")
    await pool.close()

    assert caught.value.reason == "database_unreachable"
    assert "the server had ended the session" in describe(caught.value.__cause__ or caught.value)


@pytest.mark.parametrize(
    ("sql", "command_timeout", "raised"),
    [
        ("SELECT pg_sleep(5)", 0.1, UnavailableError),
        ("SELECT pg_sleep(5)", 5.0, UnavailableError),
        ("SELECT 1", 5.0, TimeoutError),
    ],
)
async def test_a_timeout_is_of_what_was_under_way(
    settings: Settings, sql: str, command_timeout: float, raised: type[Exception]
) -> None:
    """A timeout of a statement, the driver's or the caller's, is the database's; no other is."""
    connector = Connector(dataclasses.replace(settings, db_command_timeout=command_timeout))
    pool = Pool(connector, 1, 5.0)

    async def use() -> None:
        async with pool.acquire() as connection, asyncio.timeout(0.5):
            await connection.execute(sql)
            await asyncio.sleep(5)

    with pytest.raises(raised):
        await use()
    await pool.close()


@pytest.mark.parametrize("error", [TimeoutError, asyncio.CancelledError])
async def test_a_connection_whose_statement_may_run_is_abandoned(
    pool: Pool, server: Server, error: type[BaseException]
) -> None:
    """It is not given out again, and not waited for: it is terminated a moment later."""

    async def fail() -> None:
        async with pool.acquire():
            raise error

    with pytest.raises(error):
        await fail()
    assert pool.get_size() == 0
    server.made[0].terminate.assert_not_called()
    await asyncio.sleep(0.7)

    server.made[0].terminate.assert_called()


async def test_closing_closes_everything(server: Server) -> None:
    """Idle connections are closed, each for a second at most; those in use are terminated."""
    pool, done = Pool(server.connect, 2, 0.2), asyncio.Event()
    holder = asyncio.create_task(hold(pool, done))
    await asyncio.sleep(0.01)
    await execute(pool)
    server.made[1].close.side_effect = TimeoutError
    await pool.close()

    server.made[1].close.assert_awaited_once_with(timeout=1.0)
    server.made[0].terminate.assert_called_once_with()
    done.set()
    await holder


async def test_a_pool_on_a_real_server(settings: Settings) -> None:
    """Its connections are those of the connector."""
    pool = Pool(Connector(settings), 3, 5)
    async with pool.acquire() as acquired:
        name = await acquired.fetchval("SELECT current_setting('application_name')")
    size = pool.get_size()
    await pool.close()

    assert (name, size) == ("groundwork", 1)
