"""GET /health/details."""

import asyncio
import base64
from unittest.mock import AsyncMock, Mock

import httpx
import pytest
from prometheus_client import REGISTRY, CollectorRegistry

from groundwork import __version__
from groundwork.core.config import Settings
from groundwork.core.database import Connection
from groundwork.core.database.migration_files import migration_ids
from groundwork.core.readiness.result import Result
from groundwork.core.state import State
from groundwork.health import services
from tests.conftest import Serving
from tests.factories.installation import create_installation

TOKEN = "a-token-for-the-operators"
GUARDED = {"environment": "staging", "ops_token": TOKEN}


def basic(credentials: str) -> str:
    """Return the header that a browser makes of `user:password`."""
    return f"Basic {base64.b64encode(credentials.encode()).decode()}"


async def test_details_report_the_instance(client: httpx.AsyncClient) -> None:
    """Details have status, version, environment, uptime, event loop lag and memory."""
    report = (await client.get("/health/details")).json()

    assert report["status"] == "ok"
    assert report["version"] == __version__
    assert report["environment"] == "development"
    assert 0 < report["uptime_seconds"] < 60
    assert 0 <= report["process"]["event_loop_lag_ms"] < 60_000
    assert 2**20 < report["process"]["memory_bytes"] < 2**36
    dropped = REGISTRY.get_sample_value("groundwork_log_lines_dropped_total")
    assert report["process"]["log_lines_dropped"] == dropped


async def test_details_report_the_database(client: httpx.AsyncClient) -> None:
    """Details have the result of the check, the pool and the migrations."""
    report = (await client.get("/health/details")).json()

    database = report["components"]["database"]
    assert database["status"] == "ok"
    assert 0 < database["latency_ms"] < 60_000
    assert database["server_version"].split(".")[0].isdecimal()
    assert 0 <= database["age_seconds"] < 60
    assert database["pool"] == {"size": 1, "idle": 1, "in_use": 0, "max": 1}
    assert database["migrations"] == {
        "applied": list(migration_ids()),
        "pending": [],
        "unknown": [],
    }


async def test_details_name_the_installation(
    client: httpx.AsyncClient, connection: Connection
) -> None:
    """Details have the row that identifies this installation."""
    row = await create_installation(connection)

    report = (await client.get("/health/details")).json()

    assert report["installation"] == {
        "id": str(row["id"]),
        "created_at": row["created_at"].isoformat().replace("+00:00", "Z"),
        "updated_at": row["updated_at"].isoformat().replace("+00:00", "Z"),
    }


async def test_details_without_an_installation(
    client: httpx.AsyncClient, connection: Connection
) -> None:
    """If the row is missing, installation is null."""
    await connection.execute("DELETE FROM installation")

    report = (await client.get("/health/details")).json()

    assert report["installation"] is None


async def test_details_survive_a_broken_table(
    client: httpx.AsyncClient, connection: Connection
) -> None:
    """If the table cannot be read, installation is null, with a reason, and the status is 200."""
    await connection.execute("DROP TABLE installation")

    response = await client.get("/health/details")

    assert response.status_code == 200
    assert response.json()["installation"] is None
    assert response.json()["installation_reason"] == "database_rejected"


async def test_details_while_the_database_is_down(serving: Serving) -> None:
    """An outage is reported with status code 200: details are not for load balancers."""
    async with serving("postgresql://nobody@127.0.0.1:1/nothing") as client:
        response = await client.get("/health/details")

    assert response.status_code == 200
    report = response.json()
    assert report["status"] == "unavailable"
    assert report["installation_reason"] == "database_unreachable"
    assert report["components"]["database"]["reason"] == "database_unreachable"
    assert report["components"]["database"]["cause"] == "ConnectionRefusedError"


async def test_details_skip_the_query_while_the_database_is_down(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During an outage, details send no query and respond at once."""
    monkeypatch.setattr(services, "INSTALLATION", query := Mock())
    async with serving("postgresql://nobody@127.0.0.1:1/nothing") as client:
        await client.get("/health/details")

    query.first.assert_not_called()


@pytest.mark.parametrize("settings", [{"readiness_timeout": 0.5}], indirect=True)
async def test_details_do_not_wait_for_a_query_that_hangs(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After READINESS_TIMEOUT the response is sent with installation null."""
    query = Mock(first=lambda _: asyncio.sleep(60))
    monkeypatch.setattr(services, "INSTALLATION", query)
    async with asyncio.timeout(20):
        report = (await client.get("/health/details")).json()

    assert report["installation"] is None


async def test_details_have_their_units(
    client: httpx.AsyncClient, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fields in _ms are milliseconds, fields in _seconds seconds, rounded to three places."""
    result = Result("degraded", "pool_saturated", latency=0.0123456, checked_at=950)
    monkeypatch.setattr(state["readiness"], "check", AsyncMock(return_value=result))
    state["readiness"].loop_monitor.lags.append(0.0045678)
    monkeypatch.setattr(services, "time", Mock(monotonic=lambda: 1000.12345))
    state["lifecycle"].started = 900
    report = (await client.get("/health/details")).json()

    database = report["components"]["database"]
    assert report["reason"] == database["reason"] == "pool_saturated"
    assert (report["uptime_seconds"], database["age_seconds"]) == (100.123, 50.123)
    assert (report["process"]["event_loop_lag_ms"], database["latency_ms"]) == (4.568, 12.346)


@pytest.mark.parametrize("settings", [{"ops_token": TOKEN}], indirect=True)
async def test_details_are_open_in_development(client: httpx.AsyncClient) -> None:
    """A developer needs no token, even if OPS_TOKEN is set."""
    assert (await client.get("/health/details")).status_code == 200


@pytest.mark.parametrize("settings", [{"environment": "production"}], indirect=True)
async def test_details_are_404_without_a_configured_token(client: httpx.AsyncClient) -> None:
    """Outside development, details return 404 if OPS_TOKEN is not set."""
    response = await client.get("/health/details", headers={"Authorization": "Bearer "})

    assert response.status_code == 404


@pytest.mark.parametrize("settings", [GUARDED], indirect=True)
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN.upper()}",
        f"Bearer {TOKEN}\x00",
        f"Bearer {TOKEN}, Bearer {TOKEN}",
        "Bearer \xe9\xff",
        f"Digest {TOKEN}",
        TOKEN,
        "Basic",
        "Basic wrong",
        "Basic \xe9",
        "Basic ====",
        f"Basic {TOKEN}",
        basic(TOKEN),
        basic(f"{TOKEN}:"),
        basic(f"{TOKEN}:wrong"),
        basic(f"anybody:{TOKEN}:"),
        basic(f"anybody:{TOKEN}\x00"),
        basic(f"anybody:{TOKEN}")[:-4],
    ],
)
async def test_details_reject_a_wrong_token(
    client: httpx.AsyncClient, authorization: str | None
) -> None:
    """Anything but the token is 401; the challenge names Basic first, for browsers."""
    headers = {} if authorization is None else {b"Authorization": authorization.encode("latin-1")}

    response = await client.get("/health/details", headers=headers)

    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Basic")
    assert response.json()["title"] == "Unauthorized"


@pytest.mark.parametrize("settings", [GUARDED], indirect=True)
@pytest.mark.parametrize(
    "authorization",
    [
        f"Bearer {TOKEN}",
        f"bearer {TOKEN}",
        f"BEARER  {TOKEN}",
        basic(f"anybody:{TOKEN}"),
        basic(f":{TOKEN}"),
        basic(f"anybody:{TOKEN}").replace("Basic", "basic "),
    ],
)
async def test_details_accept_the_token(client: httpx.AsyncClient, authorization: str) -> None:
    """The token is accepted as Bearer or as the password of Basic."""
    response = await client.get("/health/details", headers={"Authorization": authorization})

    assert response.status_code == 200


@pytest.mark.parametrize(
    "settings",
    [GUARDED | {"ops_token": token} for token in ("a:b::c", "größer", "a b")],
    indirect=True,
)
async def test_any_token_is_accepted(client: httpx.AsyncClient, settings: Settings) -> None:
    """A token may have colons, spaces and non-ASCII characters, sent as UTF-8."""
    given = [f"Bearer {settings.ops_token}", basic(f"anybody:{settings.ops_token}")]
    requests = [{b"Authorization": one.encode()} for one in given]
    responses = [await client.get("/health/details", headers=headers) for headers in requests]

    assert [response.status_code for response in responses] == [200, 200]


@pytest.mark.parametrize("settings", [GUARDED], indirect=True)
async def test_only_the_first_authorization_header_counts(client: httpx.AsyncClient) -> None:
    """A second Authorization header, behind the one that a proxy has set, is ignored."""
    headers = [("Authorization", "Bearer wrong"), ("Authorization", f"Bearer {TOKEN}")]

    assert (await client.get("/health/details", headers=headers)).status_code == 401


@pytest.mark.parametrize("settings", [GUARDED], indirect=True)
async def test_the_token_is_compared_in_constant_time(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hmac.compare_digest alone decides whether the token is right."""
    compare = Mock(return_value=True)
    monkeypatch.setattr("hmac.compare_digest", compare)

    response = await client.get("/health/details", headers={"Authorization": "Bearer wrong"})

    assert response.status_code == 200
    compare.assert_called_once_with(b"wrong", TOKEN.encode())


async def test_memory_is_null_without_proc(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system has no /proc, memory_bytes is null."""
    monkeypatch.setattr(services, "REGISTRY", CollectorRegistry())

    response = await client.get("/health/details")

    assert response.json()["process"]["memory_bytes"] is None
