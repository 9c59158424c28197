"""Connections to the hosts of DATABASE_URL."""

import asyncio
import dataclasses
import logging
import os
import socket
import ssl
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock
from urllib.parse import unquote

import asyncpg
import pytest

from groundwork.core.config import Settings
from groundwork.core.database import Connection, Connector
from groundwork.core.database.addresses import Lookups, LoopTo
from groundwork.core.database.errors import describe
from tests.factories.installation import create_installation

TWO_HOSTS = "postgresql://us:s3,cret@first,second:5433/db"


class Loop:
    """An event loop that knows the addresses of every name but `unknown`."""

    def __init__(self, addresses: dict[str, list[str]]) -> None:
        self.addresses = addresses
        self.created = AsyncMock(return_value=(Mock(), "protocol"))

    async def getaddrinfo(self, host: str, *_: object, **__: object) -> list[Any]:
        """Return the addresses of a name."""
        if host == "unknown":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        found = self.addresses.get(host, ["192.0.2.9"])
        return [(0, 0, 0, "", (address, 0)) for address in found]

    async def create_connection(self, *arguments: object, **options: object) -> Any:
        """Connect nowhere."""
        return await self.created(*arguments, **options)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    """Stand in for the loop: the name `both` has two addresses, `one` has one."""
    loop = Loop({"both": ["192.0.2.1", "192.0.2.2", "192.0.2.1"], "one": ["192.0.2.3"]})
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    return loop


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch, loop: Loop) -> AsyncMock:  # noqa: ARG001 - no lookup
    """Stand in for asyncpg.connect()."""
    connect = AsyncMock()
    monkeypatch.setattr(asyncpg, "connect", connect)

    async def wait_for(work: Any, _: float) -> Any:
        return await work

    monkeypatch.setattr(asyncio, "wait_for", wait_for)
    return connect


def attempts(connect: AsyncMock) -> list[tuple[str, int, int]]:
    """Return host, port and rounded timeout of each attempt."""
    calls = [one.kwargs for one in connect.await_args_list]
    return [(one["host"], one["port"], round(one["timeout"])) for one in calls]


@pytest.mark.usefixtures("loop")
@pytest.mark.parametrize(
    "url",
    [
        TWO_HOSTS,
        "postgresql://?host=first,second&port=5432,5433",
        "host=first,second port=5432,5433",
    ],
)
async def test_each_host_has_its_share_of_the_timeout(connect: AsyncMock, url: str) -> None:
    """A silent host hides no other, in any spelling; the last good one is tried first."""
    connect.side_effect = [TimeoutError(), "second", "again"]
    connector = Connector(Settings(database_url=url, db_connect_timeout=8))

    opened: list[object] = [await connector(), await connector()]

    assert opened == ["second", "again"]
    assert attempts(connect) == [("first", 5432, 4), ("second", 5433, 8), ("second", 5433, 4)]


@pytest.mark.parametrize(
    "error",
    [
        OSError(),
        asyncpg.CannotConnectNowError(),
        asyncpg.ConnectionDoesNotExistError(),
        asyncpg.TargetServerAttributeNotMatched(),
    ],
)
async def test_the_next_host_is_tried(connect: AsyncMock, error: Exception) -> None:
    """As with libpq, a host that does not serve hides no other."""
    connect.side_effect = [error, "second"]
    opened: object = await Connector(Settings(database_url=TWO_HOSTS))()

    assert opened == "second"


async def test_a_server_that_shuts_down_is_named_before_a_standby(connect: AsyncMock) -> None:
    """It waits for its sessions, so the error says so, also when the last host is a standby."""
    shutdown = asyncpg.CannotConnectNowError("the database system is shutting down")
    connect.side_effect = [shutdown, asyncpg.TargetServerAttributeNotMatched()]

    with pytest.raises(asyncpg.CannotConnectNowError):
        await Connector(Settings(database_url=TWO_HOSTS))()


async def test_each_address_of_a_name_has_its_share(connect: AsyncMock, loop: Loop) -> None:
    """A name with two addresses counts as two hosts; TLS is still given the name."""
    connect.side_effect = [TimeoutError(), "second"]
    connector = Connector(Settings(database_url="postgresql://both/x", db_connect_timeout=8))
    await connector()
    for call in connect.await_args_list:
        redirected = call.kwargs["loop"]
        await redirected.create_connection("factory", "both", 5432, ssl="context")
        await redirected.create_connection("factory", "both", 5432)

    assert attempts(connect) == [("both", 5432, 4), ("both", 5432, 8)]
    connected = [call.args for call in loop.created.await_args_list]
    assert connected == [("factory", f"192.0.2.{n}", 5432) for n in (1, 1, 2, 2)]
    named = {"ssl": "context", "server_hostname": "both"}
    assert [call.kwargs for call in loop.created.await_args_list] == [named, {}] * 2
    assert connect.await_args_list[0].kwargs["loop"].created is loop.created


async def test_the_address_that_worked_last_is_first(connect: AsyncMock, loop: Loop) -> None:
    """The silent address of a name costs no other connection its time."""
    connect.side_effect = [TimeoutError(), "second", "again"]
    connector = Connector(Settings(database_url="postgresql://both/x"))
    for _ in range(2):
        await connector()

    assert connect.await_args is not None
    await connect.await_args.kwargs["loop"].create_connection("factory", "both", 5432)
    assert loop.created.await_args_list[0].args == ("factory", "192.0.2.2", 5432)


async def test_hostaddr_is_connected_to_and_host_is_the_name(
    connect: AsyncMock, loop: Loop
) -> None:
    """With both, as with libpq, the certificate must be for the name, which is not looked up."""
    await Connector(Settings(database_url="host=both hostaddr=192.0.2.9 dbname=x"))()

    assert connect.await_args is not None
    await connect.await_args.kwargs["loop"].create_connection("factory", "both", 5432)
    assert connect.await_args.kwargs["host"] == "both"
    assert loop.created.await_args_list[0].args == ("factory", "192.0.2.9", 5432)


async def test_a_name_is_looked_up_once(connect: AsyncMock, loop: Loop) -> None:
    """The driver gets the only address of a name, too: a slow name server gets one query."""
    await Connector(Settings(database_url="postgresql://one/x"))()

    assert connect.await_args is not None
    await connect.await_args.kwargs["loop"].create_connection("factory", "one", 5432)
    assert loop.created.await_args_list[0].args == ("factory", "192.0.2.3", 5432)


async def test_a_name_is_looked_up_for_each_connection(connect: AsyncMock, loop: Loop) -> None:
    """The next connection goes to the new address of a name, as after a failover."""
    connector = Connector(Settings(database_url="postgresql://one/x"))
    await connector()
    loop.addresses["one"] = ["192.0.2.8"]
    await connector()

    assert connect.await_args is not None
    await connect.await_args.kwargs["loop"].create_connection("factory", "one", 5432)
    assert loop.created.await_args_list[0].args == ("factory", "192.0.2.8", 5432)


async def test_the_folder_of_a_socket_is_left_to_the_driver(connect: AsyncMock) -> None:
    """It has no address."""
    await Connector(Settings(database_url="host=/run/postgresql dbname=x"))()

    assert connect.await_args is not None
    assert "loop" not in connect.await_args.kwargs
    assert connect.await_args.kwargs["host"] == "/run/postgresql"


async def test_a_failed_lookup_is_not_repeated_by_the_driver(connect: AsyncMock) -> None:
    """The name that is unknown is in the error, and the next host is tried."""
    with pytest.raises(socket.gaierror, match="unknown:5432"):
        await Connector(Settings(database_url="postgresql://unknown/x"))()

    await Connector(Settings(database_url="postgresql://unknown,one/x"))()

    assert [host for host, *_ in attempts(connect)] == ["one"]


@pytest.mark.usefixtures("loop")
async def test_without_a_host_the_driver_has_its_default(connect: AsyncMock) -> None:
    """An address without a host is the driver's own default, with the port of the address."""
    await Connector(Settings(database_url="postgresql://:6432/x"))()

    assert connect.await_args is not None
    assert (connect.await_args.kwargs["host"], connect.await_args.kwargs["port"]) == (None, 6432)
    assert connect.await_args.kwargs["server_settings"] == {"application_name": "groundwork"}
    assert connect.await_args.kwargs["statement_cache_size"] == 100
    assert connect.await_args.kwargs["command_timeout"] == 30.0
    assert "ssl" not in connect.await_args.kwargs


@pytest.mark.usefixtures("loop")
async def test_system_certificates_are_a_context(connect: AsyncMock) -> None:
    """sslrootcert=system verifies the name against the system's certificates."""
    url = "postgresql://h/x?sslmode=verify-full&sslrootcert=system"
    await Connector(Settings(database_url=url))()

    assert connect.await_args is not None
    context = connect.await_args.kwargs["ssl"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.usefixtures("loop")
async def test_a_client_certificate_goes_with_system_certificates(
    connect: AsyncMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver loads sslcert and sslkey only where it makes the context itself."""
    loaded = Mock()
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", loaded)
    url = "postgresql://h/x?sslmode=verify-full&sslrootcert=system&sslcert=/&sslkey=/k"
    await Connector(Settings(database_url=url))()

    loaded.assert_called_once_with("/", "/k", None)
    connect.assert_awaited_once()


@pytest.mark.usefixtures("loop")
@pytest.mark.parametrize(
    ("url", "given"),
    [
        ("postgresql://u@h:6000/x", {"password": "filed"}),
        ("postgresql://u@/x", {"password": "socket"}),
        ("postgresql://u@other/x", {"password": None}),
        ("postgresql://u:own@h:6000/x", {}),
    ],
)
async def test_each_host_has_its_password(
    connect: AsyncMock, tmp_path: Path, url: str, given: dict[str, str | None]
) -> None:
    """The password file counts where the address has no password; the driver reads none."""
    (file := tmp_path / "passwords").write_text("h:6000:x:u:filed\nlocalhost:5432:x:u:socket")
    file.chmod(0o600)
    await Connector(Settings(database_url=f"{url}?passfile={file}"))()

    assert connect.await_args is not None
    options = connect.await_args.kwargs
    assert {name: options[name] for name in options if name == "password"} == given
    assert not Path(options["passfile"]).exists()


async def test_the_environment_wins_over_the_password_file(
    connect: AsyncMock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As with libpq, PGPASSWORD counts; the driver reads it itself."""
    (file := tmp_path / "passwords").write_text("*:*:*:*:filed")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSWORD", "own")
    await Connector(Settings(database_url=f"postgresql://u@h/x?passfile={file}"))()

    assert connect.await_args is not None
    assert "password" not in connect.await_args.kwargs


@pytest.mark.usefixtures("loop")
async def test_a_rejection_is_not_repeated(connect: AsyncMock) -> None:
    """A wrong password is wrong everywhere; where no host can be reached, the last one says why."""
    connector = Connector(Settings(database_url=TWO_HOSTS))
    connect.side_effect = [asyncpg.InvalidPasswordError()]
    with pytest.raises(asyncpg.InvalidPasswordError):
        await connector()

    connect.side_effect = [ConnectionRefusedError(), asyncpg.CannotConnectNowError()]
    with pytest.raises(asyncpg.CannotConnectNowError):
        await connector()


@pytest.mark.usefixtures("loop")
async def test_a_file_is_read_again_for_each_connection(
    connect: AsyncMock,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """DATABASE_URL_FILE counts as it is now; while it is invalid, as it was, with one warning."""
    caplog.set_level(logging.WARNING)
    file = tmp_path / "url"
    monkeypatch.setenv("DATABASE_URL_FILE", str(file))
    connector = Connector(Settings(database_url="postgresql://first/x"))
    for text in ("", "postgresql://second/x\n", "s3cret", "postgresql://third/x"):
        file.write_text(text)
        await connector()
    file.unlink()
    await connector()
    await connector()

    hosts = [call.kwargs["host"] for call in connect.await_args_list]
    assert hosts == ["first", "second", "second", "third", "third", "third"]
    assert [one.message for one in caplog.records] == ["DATABASE_URL is invalid"] * 3
    assert all(vars(one)["cause"] for one in caplog.records)
    assert "s3cret" not in str([vars(one) for one in caplog.records])


async def test_a_lookup_that_hangs_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is looked up once at a time; the other hosts are tried meanwhile."""
    monkeypatch.setattr(asyncpg, "connect", connect := AsyncMock())
    getaddrinfo = Mock(side_effect=lambda *_, **__: asyncio.sleep(60))
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
    connector = Connector(Settings(database_url="postgresql://h/x", db_connect_timeout=0.05))
    for _ in range(3):
        with pytest.raises(TimeoutError, match="no host name was looked up in time"):
            await connector()
    await Connector(Settings(database_url="postgresql:///x?host=h,/run", db_connect_timeout=0.2))()

    assert getaddrinfo.call_count == 2
    connect.assert_awaited_once()
    assert connect.call_args.kwargs["timeout"] > 0


async def test_known_addresses_serve_while_a_lookup_hangs(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a name is known, a lookup costs a second; its late response is used next."""
    monkeypatch.setattr("groundwork.core.database.addresses._KNOWN_SECONDS", 0.01)
    lookups = Lookups()
    addresses = iter(("192.0.2.3", "192.0.2.9", "192.0.2.9"))

    async def slow(*_: object, **__: object) -> list[Any]:
        await asyncio.sleep(0.2)
        return [(0, 0, 0, "", (next(addresses), 0))]

    monkeypatch.setattr(loop, "getaddrinfo", slow)
    found = [await lookups.addresses_of("one", 5) for _ in range(2)]
    await asyncio.sleep(0.3)
    found.append(await lookups.addresses_of("one", 5))

    assert found == [["192.0.2.3"], ["192.0.2.3"], ["192.0.2.9"]]


@pytest.mark.parametrize(("code", "is_served"), [("EAI_AGAIN", True), ("EAI_NONAME", False)])
async def test_known_addresses_serve_without_a_name_server(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, code: str, *, is_served: bool
) -> None:
    """Where the name server says that there is no such name, they do not."""
    lookups = Lookups()
    known = await lookups.addresses_of("one", 5)
    failure = socket.gaierror(getattr(socket, code), "failed")
    monkeypatch.setattr(loop, "getaddrinfo", AsyncMock(side_effect=failure))

    with nullcontext() if is_served else pytest.raises(socket.gaierror):
        assert await lookups.addresses_of("one", 5) == known
    with pytest.raises(socket.gaierror):
        await lookups.addresses_of("other", 5)


async def test_a_lookup_that_hangs_delays_no_other_host(
    connect: AsyncMock, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a host has worked, a name before it is not looked up."""
    connector = Connector(Settings(database_url="postgresql://unknown,one/x"))
    await connector()
    monkeypatch.setattr(loop, "getaddrinfo", Mock(side_effect=loop.getaddrinfo))
    await connector()

    assert [host for host, *_ in attempts(connect)] == ["one", "one"]
    assert [call.args[0] for call in loop.getaddrinfo.call_args_list] == ["one"]  # type: ignore[attr-defined]


async def test_updated_at_is_kept(connection: Connection) -> None:
    """An UPDATE moves updated_at to now and leaves created_at."""
    row = await create_installation(connection, updated_at=datetime(2025, 1, 1, tzinfo=UTC))

    await connection.execute("UPDATE installation SET id = id")

    after = await connection.fetchrow("SELECT *, now() AS now FROM installation")
    assert after is not None
    assert after["updated_at"] == after["now"]
    assert after["created_at"] == row["created_at"]


async def test_a_connection_has_to_respond(connect: AsyncMock, settings: Settings) -> None:
    """What a pooler accepts but has no session for is no connection, and is closed at once."""
    connect.return_value = connection = Mock(execute=AsyncMock())
    connector = Connector(settings)
    assert await connector.open_checked() is connection
    connection.terminate.assert_not_called()
    connection.execute.side_effect = TimeoutError
    with pytest.raises(TimeoutError):
        await connector.open_checked()

    connection.execute.assert_awaited_with("SELECT 1", timeout=settings.db_connect_timeout)
    connection.terminate.assert_called_once_with()


async def test_the_driver_connects_to_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver connects to the address that was found, and looks up no name itself."""
    monkeypatch.setattr(Lookups, "addresses_of", AsyncMock(return_value=["127.0.0.1"]))
    served = Mock(side_effect=lambda _, writer: writer.close())
    async with await asyncio.start_server(served, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"postgresql://us@db.invalid:{port}/x?sslmode=disable"
        with pytest.raises((OSError, asyncpg.PostgresError)):
            await Connector(Settings(database_url=url))()

    served.assert_called_once()


KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 5, "TCP_USER_TIMEOUT": 10_000}


async def test_a_connection_has_keepalive() -> None:
    """A server that is gone without a word ends it, after seconds; an idle one is not forgotten."""
    loop = asyncio.get_running_loop()
    async with await loop.create_server(asyncio.Protocol, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        made = await LoopTo("127.0.0.1").create_connection(asyncio.Protocol, "name", port)
        options = made[0].get_extra_info("socket")
        keepalive = options.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        given = {
            name: options.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
            for name in KEEPALIVE.keys() & vars(socket).keys()
        }
        made[0].abort()

    assert keepalive == 1
    assert given.items() <= KEEPALIVE.items()


@pytest.mark.usefixtures("loop")
async def test_an_option_that_a_system_lacks_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS, for one, has no TCP_USER_TIMEOUT."""
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT", raising=False)

    assert (await LoopTo("192.0.2.9").create_connection("factory", "h", 1))[1] == "protocol"


async def test_a_missing_certificate_of_the_environment_stops_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PGSSLCERT and the like may name a file that is not there; one that is there counts."""
    for name in ("PGSSLCERT", "PGSSLCRL", "PGSSLROOTCERT"):
        monkeypatch.setenv(name, "/nowhere")
    url = "postgresql://us@127.0.0.1:1/db?sslmode=require"
    connect = Connector(dataclasses.replace(settings, database_url=url))

    with pytest.raises(ConnectionRefusedError):
        await connect()
    monkeypatch.setenv("PGSSLCERT", "/")
    with pytest.raises(IsADirectoryError):
        await connect()


@pytest.mark.usefixtures("loop")
async def test_a_certificate_may_come_later(connect: AsyncMock, tmp_path: Path) -> None:
    """A client's certificate that is not there at startup counts once it is, as for libpq."""
    file = tmp_path / "client.crt"
    connector = Connector(Settings(database_url=f"postgresql://h/x?sslcert={file}&sslkey=/k"))
    await connector()
    file.touch()
    await connector()

    assert [str(file) in unquote(call.args[0]) for call in connect.await_args_list] == [False, True]


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgresql://us@127.0.0.1:1/db", "127.0.0.1:1"),
        ("postgresql:///db?host=/nowhere", "/nowhere:5432"),
        ("postgresql://us@127.0.0.1:1/db?sslmode=verify-ca&sslrootcert=/no/root", "/no/root"),
    ],
)
async def test_an_error_names_what_it_is_about(settings: Settings, url: str, named: str) -> None:
    """What the system or OpenSSL says without a name gets the address, or the file."""
    connect = Connector(dataclasses.replace(settings, database_url=url))

    with pytest.raises(OSError, match="Errno") as caught:
        await connect()

    assert describe(caught.value).endswith(f": {named}")


@pytest.mark.parametrize("folder", ["home", "home/.postgresql"])
async def test_a_home_that_cannot_be_read_has_no_files_for_tls(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str
) -> None:
    """As for libpq: a process whose user was changed may still have the HOME of another."""
    (tmp_path / folder).parent.mkdir(exist_ok=True)
    (tmp_path / folder).symlink_to("x" * 300)  # the system refuses it, also to root
    monkeypatch.setattr(os, "environ", os.environ | {"HOME": str(tmp_path / "home")})

    with pytest.raises(ConnectionRefusedError):
        await Connector(dataclasses.replace(settings, database_url="postgresql://us@[::1]:1/db"))()


@pytest.mark.usefixtures("loop")
async def test_an_error_names_the_default_host(connect: AsyncMock) -> None:
    """An address without a host and a port stands for those of libpq."""
    connect.side_effect = TimeoutError

    with pytest.raises(TimeoutError) as caught:
        await Connector(Settings(database_url="postgresql:///x"))()

    assert describe(caught.value).endswith(": localhost:5432")


@pytest.mark.parametrize(
    "error", [TimeoutError(), ssl.SSLError("expired"), ConnectionError("lost")]
)
async def test_an_error_names_every_host(connect: AsyncMock, error: Exception) -> None:
    """Of several hosts, a timeout too says which one it is about, and what the others said."""
    connect.side_effect = [ConnectionRefusedError("no"), error]
    url = "postgresql://us@/db?host=first,second&hostaddr=192.0.2.1,192.0.2.2"

    with pytest.raises(type(error)):
        await Connector(Settings(database_url=url))()

    first = "ConnectionRefusedError('no') of 192.0.2.1:5432"
    assert describe(error).endswith(f": 192.0.2.2:5432; {first}")
