"""GET /openapi.json, and whether it is true.

The client of the tests fails where an answer is not as described; what is got from a running
service is compared here.
"""

import base64
import dataclasses
from collections import defaultdict
from unittest.mock import AsyncMock

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from groundwork import __version__
from groundwork.core.config import Settings
from groundwork.core.http.body_limit import MAX_BODY_BYTES
from groundwork.core.readiness.result import REASONS, Result
from groundwork.core.state import State
from groundwork.health.routes import PROBES
from tests.conftest import Serving
from tests.openapi.description import DESCRIPTION, GUARDED, PATHS, differences, urls
from tests.servers import Server

TOKEN = "a-token-for-the-operators"
BASIC = base64.b64encode(f"anybody:{TOKEN}".encode()).decode()
PRODUCTION = {"environment": "production"}
WITH_TOKEN = PRODUCTION | {"ops_token": TOKEN}
STATES = (
    Result("ok"),
    Result("degraded", "pool_saturated"),
    Result("unavailable", "starting"),
    Result("unavailable", "database_unreachable"),
    Result("unavailable", "database_timeout"),
    Result("unavailable", "database_rejected"),
    Result("unavailable", "database_read_only"),
    Result("unavailable", "migrations_pending", pending=("0009.create-notes",)),
    Result("unavailable", "draining"),
)

URLS = [url for path in PATHS for url in urls(path)]
each_route = pytest.mark.parametrize(
    ("path", "url"),
    [
        pytest.param(path, url, id=url)
        for path in sorted(PATHS.keys() - PROBES.keys())
        for url in urls(path)
    ],
)
each_path = pytest.mark.parametrize(
    ("path", "url"), [pytest.param(path, url, id=url) for path in PATHS for url in urls(path)]
)


async def boom(_: Request) -> Response:
    """Fail."""
    raise RuntimeError


@pytest.fixture
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """Give development's settings, with what the test's parameter changes."""
    return dataclasses.replace(settings, **getattr(request, "param", {}))


def methods(path: str) -> set[str]:
    """Return what a path answers: HEAD where it answers GET."""
    described = {method.upper() for method in PATHS[path]}
    return described | {"HEAD"} if "GET" in described else described


async def test_the_description_is_openapi(client: httpx.AsyncClient) -> None:
    """What is served is a valid OpenAPI 3.1 document, and the one that these tests try."""
    from openapi_spec_validator import OpenAPIV31SpecValidator

    document = (await client.get("/openapi.json")).json()

    assert document == DESCRIPTION
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


@pytest.mark.parametrize("settings", [{"app_name": "Our projects"}], indirect=True)
async def test_it_names_the_service(client: httpx.AsyncClient) -> None:
    """The title is APP_NAME, the version the package's."""
    info = (await client.get("/openapi.json")).json()["info"]

    assert info["title"] == "Our projects"
    assert info["version"] == __version__


def test_every_route_has_an_entry_and_every_entry_a_route(app: Starlette) -> None:
    """The methods of the routes are those that the description has, and HEAD with each GET."""
    served: defaultdict[str, set[str]] = defaultdict(set)
    for route in app.routes:
        assert isinstance(route, Route)
        served[route.path_format] |= route.methods or set()

    assert served | {path: {"GET", "HEAD"} for path in PROBES} == {
        path: methods(path) for path in PATHS
    }


async def test_a_response_that_differs_fails_its_test(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the route and the status, with a line for each difference."""
    described = PATHS["/health/details"]["get"]["responses"]["200"]
    monkeypatch.setitem(described, "headers", {"Location": {"schema": {}, "required": True}})

    with pytest.raises(AssertionError) as error:
        await client.get("/health/details")

    assert str(error.value).splitlines()[0] == "GET /health/details, 200: not as described"
    assert str(error.value).splitlines()[-1] == "- the header Location is missing"


@each_path
def test_answers_are_as_described(server: Server, path: str, url: str) -> None:
    """Each path answers as described."""
    response = server.ask("GET", url)

    assert response.status_code == 200
    assert differences(path, response) == []


async def test_without_a_database_answers_are_as_described(serving: Serving) -> None:
    """Each path does so then too, and those that need the database say it."""
    found = {}
    async with serving("postgresql://nobody@127.0.0.1:1/nothing") as client:
        for url in URLS:
            found[url] = (await client.get(url)).status_code

    assert found["/health/ready"] == 503
    assert set(found.values()) == {200, 503}


@each_path
def test_head_is_get_without_a_body(server: Server, path: str, url: str) -> None:
    """HEAD has the status and the headers that GET has."""
    head, get = server.ask("HEAD", url), server.ask("GET", url)

    assert head.content == b""
    assert head.status_code == get.status_code
    assert head.headers.keys() == get.headers.keys(), path


@each_path
def test_other_methods_are_answered_as_described(server: Server, path: str, url: str) -> None:
    """Another method is 405, and Allow has all that are described."""
    response = server.ask("TRACE", url)

    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == methods(path)
    assert differences(path, response) == []


@each_route
def test_a_large_body_is_answered_as_described(server: Server, path: str, url: str) -> None:
    """A body that nobody wants is 413."""
    response = server.ask("GET", url, content=bytes(MAX_BODY_BYTES + 1))

    assert response.status_code == 413
    assert differences(path, response) == []


@each_route
async def test_an_exception_is_answered_as_described(
    app: Starlette, client: httpx.AsyncClient, path: str, url: str
) -> None:
    """An exception in a handler is 500."""
    app.router.routes[:] = [Route(path, boom)]

    response = await client.get(url)

    assert response.status_code == 500


@pytest.mark.parametrize("settings", [PRODUCTION], indirect=True)
@each_path
async def test_without_a_token_configured_only_the_open_paths_are_there(
    client: httpx.AsyncClient, path: str, url: str
) -> None:
    """Outside development what the description puts under a token is 404, the rest is open."""
    response = await client.get(url)

    assert (response.status_code == 404) is (path in GUARDED)


@pytest.mark.parametrize("settings", [WITH_TOKEN], indirect=True)
@each_path
async def test_a_token_is_wanted_where_the_description_says_so(
    client: httpx.AsyncClient, path: str, url: str
) -> None:
    """Outside development what the description puts under a token is 401 without it."""
    response = await client.get(url)

    assert (response.status_code == 401) is (path in GUARDED)


@pytest.mark.parametrize("settings", [WITH_TOKEN], indirect=True)
@pytest.mark.parametrize("authorization", [f"Bearer {TOKEN}", f"Basic {BASIC}"])
@pytest.mark.parametrize("url", URLS)
async def test_the_token_opens_everything(
    client: httpx.AsyncClient, authorization: str, url: str
) -> None:
    """The token is taken as both security schemes say."""
    response = await client.get(url, headers={"Authorization": authorization})

    assert response.status_code == 200


def test_every_reason_is_described() -> None:
    """The description has the reasons of the service, and the tests below have each of them."""
    described = DESCRIPTION["components"]["schemas"]["Degraded"]["properties"]["reason"]["enum"]

    assert sorted(REASONS) == sorted(["ok", *described])
    assert sorted(REASONS) == sorted(state.reason or "ok" for state in STATES)


@pytest.mark.parametrize("result", STATES, ids=lambda result: result.reason or result.status)
@pytest.mark.parametrize("path", ["/", "/health/ready", "/health/details"])
async def test_every_state_is_described(
    client: httpx.AsyncClient,
    state: State,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    result: Result,
) -> None:
    """Readiness, details and page are as described in each state that the service knows."""
    monkeypatch.setattr(state["readiness"], "check", AsyncMock(return_value=result))

    assert (await client.get(path)).status_code in {200, 503}


@pytest.mark.parametrize(
    "result",
    [
        Result("unavailable", "full_moon"),
        Result("unavailable"),
        Result("degraded"),
        Result("unavailable", "migrations_pending"),
    ],
)
async def test_no_other_state_is_described(
    client: httpx.AsyncClient, state: State, monkeypatch: pytest.MonkeyPatch, result: Result
) -> None:
    """A state that the service does not know is none that the description allows."""
    monkeypatch.setattr(state["readiness"], "check", AsyncMock(return_value=result))

    with pytest.raises(AssertionError):
        await client.get("/health/ready")
