"""The readiness check's own connection, over fake connections."""

import asyncio
import time
from typing import Any
from unittest.mock import AsyncMock, Mock

import asyncpg
import pytest

from groundwork.core.readiness import connection as check_connection
from groundwork.core.readiness.connection import CheckConnection
from tests.loop import eventually
from tests.servers import PATIENCE


def row(version: object) -> tuple[object, ...]:
    """Return a row of the check's statement with this version of the server."""
    return (False, "", version, [], "")


def connection(*results: object) -> Mock:
    """Return a connection whose queries have these results: versions or exceptions."""
    rows = [one if isinstance(one, Exception) else row(one) for one in results]
    return Mock(
        fetchrow=AsyncMock(side_effect=rows), is_closed=Mock(return_value=False), close=AsyncMock()
    )


def faithful() -> Mock:
    """Return a connection that always responds, with itself as the version."""
    fake = Mock(close=AsyncMock())
    fake.fetchrow = AsyncMock(return_value=row(fake))
    return fake


async def never(*_: object) -> Any:
    """Never return."""
    await asyncio.Event().wait()


async def failure_of(check: CheckConnection) -> Exception:
    """Wait until a renewal fails, and return its error."""
    await eventually(lambda: check.failure)
    assert check.failure
    return check.failure


def soon() -> float:
    """Return a deadline that is near."""
    return time.monotonic() + 0.02


def late() -> float:
    """Return a deadline that nothing here should come near."""
    return time.monotonic() + PATIENCE


async def test_a_connection_is_kept_while_it_works() -> None:
    """It is opened once, and replaced when it fails; `reconnected` is true for that query alone."""
    stale, new = (
        connection("first", ConnectionResetError()),
        connection("second", "second", "second"),
    )
    check = CheckConnection(AsyncMock(side_effect=[stale, new]), 5, Mock())

    seen = [((await check.query(late())).postgres_version, check.reconnected) for _ in range(4)]

    assert seen == [("first", False), ("second", True), ("second", False), ("second", False)]
    await asyncio.sleep(0.7)
    stale.terminate.assert_called_once_with()
    new.terminate.assert_not_called()


async def test_only_a_kept_connection_can_be_lost() -> None:
    """A kept connection that has closed counts as lost until the next query."""
    kept = connection("first", ConnectionResetError())
    check = CheckConnection(AsyncMock(side_effect=[kept, OSError()]), 5, Mock())
    seen = [check.is_lost()]

    await check.query(late())
    for closed in (False, True):
        kept.is_closed.return_value = closed
        seen.append(check.is_lost())
    with pytest.raises(OSError):  # noqa: PT011 - the fake's
        await check.query(late())

    assert [*seen, check.is_lost()] == [False, False, True, False]


@pytest.mark.parametrize("slow", [0, 3])
async def test_an_attempt_outlives_its_check(slow: int) -> None:
    """The oldest and the newest go on: either may connect while the network drops the others."""
    gate = asyncio.Event()
    attempts: list[asyncio.Task[Any] | None] = []

    async def connect() -> Any:
        attempts.append(asyncio.current_task())
        await (gate.wait() if len(attempts) == slow + 1 else never())
        return connection("row")

    check = CheckConnection(connect, 5, Mock())
    for _ in range(4):
        with pytest.raises(TimeoutError, match="no response in time"):
            await check.query(soon())
    assert [attempt.done() for attempt in attempts if attempt] == [False, True, False, False]

    gate.set()
    found = await check.query(late())
    assert found.postgres_version == "row"


async def test_a_query_that_times_out_is_cancelled() -> None:
    """Its connection has a moment to send the cancel request, and is closed then."""
    silent = Mock(fetchrow=AsyncMock(side_effect=never))
    check = CheckConnection(AsyncMock(return_value=silent), 0.01, Mock())

    with pytest.raises(TimeoutError):
        await check.query(late())

    silent.terminate.assert_not_called()
    await asyncio.sleep(0.7)
    silent.terminate.assert_called_once_with()


async def test_a_kept_session_that_hangs_is_a_timeout() -> None:
    """No other attempt is made beside it: the time is over."""
    kept = connection("first")
    connect = AsyncMock(return_value=kept)
    check = CheckConnection(connect, 5, Mock())
    await check.query(late())
    kept.fetchrow = never
    with pytest.raises(TimeoutError):
        await check.query(soon())

    assert connect.await_count == 1
    assert not check.reconnected
    check.close()


async def test_closing_ends_what_is_kept() -> None:
    """The connection that waits for the next check is closed."""
    kept = connection("row")
    check = CheckConnection(AsyncMock(return_value=kept), 5, Mock())
    await check.query(late())

    check.close()

    kept.terminate.assert_called_once_with()


async def test_closing_ends_an_attempt_under_way() -> None:
    """A connect that goes on without its check goes on no longer."""
    before = asyncio.all_tasks()
    check = CheckConnection(AsyncMock(side_effect=never), 5, Mock())
    with pytest.raises(TimeoutError):
        await check.query(soon())

    check.close()
    await asyncio.sleep(0)

    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("earlier", [0, 1])
async def test_closing_ends_the_attempts_of_a_check_that_is_cancelled(earlier: int) -> None:
    """At shutdown a check may be under way, beside the attempt of one before it or not."""
    before = asyncio.all_tasks()
    check = CheckConnection(AsyncMock(side_effect=never), 5, Mock())
    for _ in range(earlier):
        with pytest.raises(TimeoutError):
            await check.query(soon())
    under_way = asyncio.create_task(check.query(late()))
    await asyncio.sleep(0.01)

    under_way.cancel()
    check.close()
    await asyncio.sleep(0.01)

    assert asyncio.all_tasks() == before


async def test_a_patient_attempt_that_fails_leaves_the_fresh_one_its_time() -> None:
    """The check waits on for the attempt of its own."""
    late, fresh = asyncio.Event(), faithful()

    async def fail_late() -> None:
        await late.wait()
        raise ConnectionResetError

    async def connect_later() -> Mock:
        late.set()
        await asyncio.sleep(0.05)
        return fresh

    check = CheckConnection(Mock(side_effect=[fail_late(), connect_later()]), 20, Mock())
    with pytest.raises(TimeoutError):
        await check.query(time.monotonic() + 0.01)

    assert (await check.query(time.monotonic() + 20)).postgres_version is fresh


async def test_a_session_is_not_replaced_by_an_older_attempt() -> None:
    """What hangs beside an attempt that connects, perhaps to a server of before, is cancelled."""
    gate, fresh = asyncio.Event(), connection("fresh", "fresh")

    async def connect_slowly() -> Mock:
        await gate.wait()
        return connection("slow", "slow")

    attempts = [connect_slowly(), asyncio.sleep(0, fresh)]
    check = CheckConnection(Mock(side_effect=attempts), 5, Mock())
    with pytest.raises(TimeoutError):
        await check.query(soon())
    await check.query(late())
    gate.set()
    await asyncio.sleep(0.01)

    assert (await check.query(late())).postgres_version == "fresh"
    fresh.close.assert_not_awaited()


async def test_of_two_that_connect_at_once_one_is_kept() -> None:
    """The other one is terminated, so that nothing is left behind."""
    up, made = asyncio.Event(), [faithful(), faithful()]

    async def connect(number: int) -> Mock:
        await up.wait()
        return made[number]

    check = CheckConnection(Mock(side_effect=[connect(0), connect(1)]), 20, Mock())
    with pytest.raises(TimeoutError):
        await check.query(time.monotonic() + 0.01)
    asyncio.get_running_loop().call_soon(up.set)
    await check.query(time.monotonic() + 20)
    kept: object = (await check.query(time.monotonic() + 20)).postgres_version
    await asyncio.sleep(0.7)

    assert [one.terminate.called for one in made] == [one is not kept for one in made]


async def test_close_terminates_a_connection_whose_query_hangs() -> None:
    """A query that has timed out has half a second to be cancelled, but not after close."""
    hung = Mock(fetchrow=never, is_closed=Mock(return_value=False))
    check = CheckConnection(AsyncMock(return_value=hung), 5, Mock())
    with pytest.raises(TimeoutError):
        await check.query(soon())
    hung.terminate.assert_not_called()

    check.close()

    hung.terminate.assert_called_once_with()


@pytest.fixture
def renewing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every session be old enough to be renewed."""
    monkeypatch.setattr(check_connection, "RENEW_SECONDS", 0.0)


@pytest.mark.usefixtures("renewing")
async def test_a_session_is_renewed_in_the_background() -> None:
    """The next check uses a session that is new, and the old one is closed."""
    old, new = connection("old", "old"), connection("new", "new")
    check = CheckConnection(AsyncMock(side_effect=[old, new, OSError()]), 5, Mock())

    versions = []
    for _ in range(3):
        versions.append((await check.query(late())).postgres_version)
        await asyncio.sleep(0.05)

    assert versions == ["old", "old", "new"]
    assert isinstance(await failure_of(check), OSError)  # of the third attempt
    old.close.assert_awaited_once()
    new.close.assert_not_awaited()


@pytest.mark.usefixtures("renewing")
async def test_a_session_that_is_renewed_while_it_is_in_use_is_closed() -> None:
    """Of the two only the new one is kept."""
    gate, new = asyncio.Event(), connection("new", "new")

    async def wait(_: str) -> tuple[object, ...]:
        await gate.wait()
        return row("old")

    old = connection("old")
    check = CheckConnection(AsyncMock(side_effect=[old, new, OSError()]), 5, Mock())
    await check.query(late())
    old.fetchrow = wait
    under_way = asyncio.create_task(check.query(late()))
    await asyncio.sleep(0.05)
    gate.set()

    assert (await under_way).postgres_version == "old"
    assert (await check.query(late())).postgres_version == "new"
    old.close.assert_awaited_once()


@pytest.mark.usefixtures("renewing")
async def test_a_failed_renewal_is_kept_until_the_next_succeeds() -> None:
    """While new connections fail, the session is used, and `failure` has the error."""
    kept = connection("kept", "kept", "kept")
    attempts = [kept, asyncpg.InvalidPasswordError(), connection("new")]
    on_failure = Mock()
    check = CheckConnection(AsyncMock(side_effect=attempts), 5, on_failure)
    failures = []
    for _ in range(3):
        await check.query(late())
        await asyncio.sleep(0.05)
        failures.append(type(check.failure))

    assert failures == [type(None), asyncpg.InvalidPasswordError, type(None)]
    on_failure.assert_called_once_with()


async def test_a_failed_renewal_is_not_repeated_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check that follows it makes no attempt: nothing floods a server with connections."""
    monkeypatch.setattr(check_connection, "RENEW_SECONDS", 0)

    def refuse() -> None:
        monkeypatch.setattr(check_connection, "RENEW_SECONDS", PATIENCE)
        raise asyncpg.InvalidPasswordError

    connect = AsyncMock(side_effect=[faithful()])
    checks: list[asyncio.Task[Any]] = []
    check = CheckConnection(connect, 5, lambda: checks.append(asyncio.create_task(query())))

    async def query() -> Any:
        return await check.query(late())

    await query()
    connect.side_effect = refuse
    await query()
    await asyncio.sleep(0.05)

    assert (len(checks), connect.await_count) == (1, 2)


@pytest.mark.usefixtures("renewing")
async def test_a_renewal_that_fails_does_not_make_the_session_younger() -> None:
    """The pool begins again the attempts that are older than the latest one that succeeded."""
    attempts = [connection("kept", "kept"), OSError()]
    check = CheckConnection(AsyncMock(side_effect=attempts), 5, Mock())
    await check.query(late())
    begun = check.begun
    await check.query(late())
    await failure_of(check)

    assert check.begun == begun > 0


@pytest.mark.usefixtures("renewing")
async def test_a_renewal_that_hangs_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its timeout it counts as failed, and only one is under way at a time."""
    monkeypatch.setattr(check_connection, "_RENEW_TIMEOUT", 0.05)
    kept = connection("kept", "kept", "kept")
    connect = AsyncMock(side_effect=[kept])
    check = CheckConnection(connect, 5, Mock())
    await check.query(late())
    connect.side_effect = never
    await check.query(late())
    await check.query(late())

    assert isinstance(await failure_of(check), TimeoutError)
    assert connect.call_count == 2
    check.close()


@pytest.mark.usefixtures("renewing")
async def test_two_attempts_at_most_are_made_beside_a_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The check has three connections at most, as the documentation of DB_POOL_MAX_SIZE says."""
    monkeypatch.setattr(check_connection, "_RENEW_TIMEOUT", 0.02)
    before, connect = asyncio.all_tasks(), AsyncMock(side_effect=[faithful()])
    check = CheckConnection(connect, 5, failed := Mock())
    await check.query(late())
    connect.side_effect = never
    for _ in range(3):
        failed.reset_mock()
        await check.query(late())
        await eventually(lambda: failed.called)
    await asyncio.sleep(0)  # until what was cancelled has ended

    assert (connect.await_count, len(asyncio.all_tasks() - before)) == (4, 2)
    check.close()


@pytest.mark.usefixtures("renewing")
async def test_closing_ends_a_renewal_under_way() -> None:
    """It is no failure then, and starts no check."""
    before = asyncio.all_tasks()
    on_failure = Mock()
    connect = AsyncMock(side_effect=[connection("kept", "kept")])
    check = CheckConnection(connect, 5, on_failure)
    await check.query(late())
    connect.side_effect = never
    await check.query(late())
    await asyncio.sleep(0.01)
    check.close()
    await asyncio.sleep(0.05)

    assert asyncio.all_tasks() == before
    on_failure.assert_not_called()


@pytest.mark.usefixtures("renewing")
async def test_a_renewal_that_is_late_ends_the_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first host is silent, the second one responds after the timeout of a renewal."""
    monkeypatch.setattr(check_connection, "_RENEW_TIMEOUT", 0.05)
    gate, kept, new = asyncio.Event(), connection("kept", "kept", "kept"), connection("new")

    async def connect_late() -> Mock:
        await gate.wait()
        return new

    attempts = [asyncio.sleep(0, kept), connect_late()]
    check = CheckConnection(Mock(side_effect=attempts), 5, Mock())
    for _ in range(2):
        await check.query(late())
    failed = await failure_of(check)
    gate.set()
    await asyncio.sleep(0.05)

    assert isinstance(failed, TimeoutError)
    assert check.failure is None
    check.close()


@pytest.mark.usefixtures("renewing")
async def test_a_renewal_ends_with_an_attempt_that_connects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A check that replaces a lost session has proved that new ones can be opened."""
    monkeypatch.setattr(check_connection, "_RENEW_TIMEOUT", 0.05)
    kept = connection("kept", "kept", "kept", ConnectionResetError())
    attempts = [asyncio.sleep(0, kept), never(), never(), asyncio.sleep(0, connection("new"))]
    check = CheckConnection(Mock(side_effect=attempts), 5, Mock())
    for _ in range(2):
        await check.query(late())
    failed = await failure_of(check)
    monkeypatch.setattr(check_connection, "_RENEW_TIMEOUT", 0.5)
    versions = [(await check.query(late())).postgres_version for _ in range(2)]
    await asyncio.sleep(0.7)

    assert (type(failed), versions) == (TimeoutError, ["kept", "new"])
    assert check.failure is None
    check.close()


@pytest.mark.usefixtures("renewing")
async def test_a_distant_server_has_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A renewal may take half as long again as the one before."""
    monkeypatch.setattr(check_connection, "_RENEW_TIMEOUT", 0.05)
    sessions = [connection("first", "first"), connection("second")]
    check = CheckConnection(
        Mock(side_effect=[asyncio.sleep(0.2, one) for one in sessions]), 5, Mock()
    )
    for _ in range(2):
        await check.query(late())
    await eventually(lambda: sessions[1].fetchrow.await_count or check.failure)

    assert check.failure is None


@pytest.mark.usefixtures("renewing")
async def test_a_blocked_event_loop_fails_no_renewal(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a handler blocks the loop for longer than the timeout, the database is not at fault."""
    monkeypatch.setattr(check_connection, "_RENEW_TIMEOUT", 0.4)
    kept, renewed = connection("kept", "kept"), connection("new")

    async def connect_while_blocked() -> Mock:
        await asyncio.sleep(0.05)
        time.sleep(0.5)
        await asyncio.sleep(0.05)
        return renewed

    connect = AsyncMock(side_effect=[kept])
    check = CheckConnection(connect, 5, Mock())
    await check.query(late())
    connect.side_effect = connect_while_blocked
    await check.query(late())
    await eventually(lambda: renewed.fetchrow.await_count or check.failure)

    assert check.failure is None


async def test_a_session_that_finds_no_table_ends_at_once() -> None:
    """Other checks may follow at once, and have three connections at most, with those that end."""
    session = connection(asyncpg.UndefinedTableError())
    check = CheckConnection(AsyncMock(side_effect=[session]), 5, Mock())
    with pytest.raises(asyncpg.UndefinedTableError):
        await check.query(late())

    session.terminate.assert_called_once_with()


@pytest.mark.usefixtures("renewing")
@pytest.mark.parametrize("error", [asyncpg.UndefinedTableError, asyncpg.CannotConnectNowError])
async def test_a_session_that_proves_nothing_is_let_go(error: type[Exception]) -> None:
    """Where a new session finds no table, or the server waits for its sessions to shut down."""
    kept = connection("kept", "kept", "kept")
    attempts = [kept, connection(error()), connection("new"), connection("new")]
    check = CheckConnection(AsyncMock(side_effect=attempts), 5, Mock())
    versions = []
    for _ in range(3):
        versions.append((await check.query(late())).postgres_version)
        await asyncio.sleep(0.05)

    assert versions == ["kept", "kept", "new"]
    kept.close.assert_awaited_once()


@pytest.mark.parametrize("error", [None, OSError])
async def test_a_session_whose_row_has_changed_is_renewed(error: type[OSError] | None) -> None:
    """What has changed, such as the role, may keep new ones from being opened: it shows at once."""
    old, new = connection("old", "changed", "changed"), connection("changed", "changed")
    connect = AsyncMock(side_effect=[old, error or new])
    check = CheckConnection(connect, 5, Mock())

    versions = [(await check.query(late())).postgres_version for _ in range(3)]
    await asyncio.sleep(0.05)

    assert versions == ["old", "changed", "changed"]
    assert type(check.failure) is (error or type(None))
    assert (connect.await_count, old.close.await_count) == (2, int(error is None))
    check.close()
