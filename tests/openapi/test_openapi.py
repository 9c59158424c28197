"""GET /openapi.json: the API description is valid, complete, and matches every response.

The test client fails if a response differs from the description; responses of a running service
are compared here.
"""

import base64
from collections import defaultdict
from collections.abc import Iterable
from unittest.mock import AsyncMock

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route

from groundwork import __version__
from groundwork.core.http.routing import flatten
from groundwork.core.readiness.result import REASONS, Result
from groundwork.core.state import State
from groundwork.health.routes import probes
from tests.conftest import Serving
from tests.openapi.description import DESCRIPTION, GUARDED, PATHS, differences, unlimited, urls
from tests.servers import Server

TOKEN = "a-token-for-the-operators"
BASIC = base64.b64encode(f"anybody:{TOKEN}".encode()).decode()
PRODUCTION = {"environment": "production"}
WITH_TOKEN = PRODUCTION | {"ops_token": TOKEN}
STATES = (
    Result("ok"),
    Result("degraded", "pool_saturated"),
    Result("degraded", "event_loop_blocked"),
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
        for path in sorted(PATHS.keys() - {probe.path for probe in probes})
        for url in urls(path)
    ],
)
each_path = pytest.mark.parametrize(
    ("path", "url"), [pytest.param(path, url, id=url) for path in PATHS for url in urls(path)]
)


async def boom(_: Request) -> Response:
    """Raise an exception."""
    raise RuntimeError


def methods(path: str) -> set[str]:
    """Return the methods of a path: HEAD with each GET."""
    described = {method.upper() for method in PATHS[path]}
    return described | {"HEAD"} if "GET" in described else described


def hidden(routes: Iterable[BaseRoute]) -> list[str]:
    """Return the routes whose requests an earlier one serves."""
    all_routes = [one for one in routes if isinstance(one, Route)]
    found = []
    for route in all_routes:
        for method in sorted(route.methods or ()):
            scope = {"type": "http", "method": method, "path": route.path_format}
            first = next((one for one in all_routes if one.matches(scope)[0] is Match.FULL), route)
            if first is not route:
                found.append(f"{method} {route.path} is served by {first.path}")
    return found


async def test_the_description_is_openapi(client: httpx.AsyncClient) -> None:
    """The response is a valid OpenAPI 3.1 document, the one that these tests use."""
    from openapi_spec_validator import OpenAPIV31SpecValidator

    document = (await client.get("/openapi.json")).json()

    assert document == DESCRIPTION
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


@pytest.mark.parametrize("settings", [{"app_name": "Our projects"}], indirect=True)
async def test_the_description_names_the_service(client: httpx.AsyncClient) -> None:
    """The title is APP_NAME, and the version is the package's."""
    info = (await client.get("/openapi.json")).json()["info"]

    assert info["title"] == "Our projects"
    assert info["version"] == __version__


def test_every_route_has_an_entry_and_every_entry_a_route(app: Starlette) -> None:
    """The routes have the described methods, and HEAD with each GET."""
    served: defaultdict[str, set[str]] = defaultdict(set)
    for path, route in flatten(app.routes):
        served[path] |= route.methods or set()

    assert served == {path: methods(path) for path in PATHS}


def test_no_route_hides_a_later_one(app: Starlette) -> None:
    """Of /notes/{id} and /notes/search, the second has to stand first in its `routes`."""
    by_id, search = (
        Route("/notes/{id}", boom),
        Route("/notes/search", boom, methods=["POST", "PUT"]),
    )
    search_too = Route("/notes/search", boom, methods=["GET"])

    assert hidden(app.routes) == []
    assert hidden([search_too, by_id, search]) == []
    assert hidden([by_id, search, search_too]) == [
        f"{method} /notes/search is served by /notes/{{id}}" for method in ("GET", "HEAD")
    ]


def test_security_schemes_are_described() -> None:
    """A scheme that a handler requires is in common.toml, or /docs would be 500."""
    operations = [one for entry in PATHS.values() for one in entry.values()]
    names = {name for one in operations for given in one.get("security", ()) for name in given}

    assert names <= DESCRIPTION["components"]["securitySchemes"].keys()


def test_structs_have_names_of_their_own() -> None:
    """Of two with one name, both would be named by their modules, the older one too."""
    assert [name for name in DESCRIPTION["components"]["schemas"] if "." in name] == []


def test_integers_of_requests_have_limits() -> None:
    """A number that is too large for its column would be 500."""
    assert unlimited(DESCRIPTION) == []


async def test_a_response_that_differs_fails_its_test(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the route and the status code, with one line per difference."""
    described = PATHS["/health/details"]["get"]["responses"]["200"]
    monkeypatch.setitem(described, "headers", {"Location": {"schema": {}, "required": True}})

    with pytest.raises(AssertionError) as error:
        await client.get("/health/details")

    assert str(error.value).splitlines()[0] == "GET /health/details, 200: not as described"
    assert str(error.value).splitlines()[-1] == "- the header Location is missing"


@each_path
def test_responses_are_as_described(server: Server, path: str, url: str) -> None:
    """Each path returns 200 as described."""
    response = server.ask("GET", url)

    assert response.status_code == 200
    assert differences(path, response) == []


async def test_responses_without_a_database_are_as_described(serving: Serving) -> None:
    """Without a database the responses are as described, and readiness is 503."""
    found = {}
    async with serving("postgresql://nobody@127.0.0.1:1/nothing") as client:
        for url in URLS:
            found[url] = (await client.get(url)).status_code

    assert found["/health/ready"] == 503
    assert set(found.values()) == {200, 503}


@each_path
def test_head_is_get_without_a_body(server: Server, path: str, url: str) -> None:
    """HEAD has the status code and the headers of GET, except those of a streamed body."""
    head, get = server.ask("HEAD", url), server.ask("GET", url)

    assert head.content == b""
    assert head.status_code == get.status_code
    assert head.headers.keys() == get.headers.keys() - {"transfer-encoding"}, path


@each_path
def test_unsupported_methods_are_as_described(server: Server, path: str, url: str) -> None:
    """Any other method is 405; Allow has the described methods, and those of /boxes/{id} too."""
    response = server.ask("TRACE", url)

    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) >= methods(path)
    assert differences(path, response) == []


@each_route
def test_a_body_that_no_handler_reads_is_discarded(server: Server, path: str, url: str) -> None:
    """A route without a body responds as ever, however large the one that a client sends."""
    response = server.ask("GET", url, content=bytes(2_000_000))

    assert response.status_code == 200
    assert differences(path, response) == []


@each_route
async def test_an_exception_is_as_described(
    app: Starlette, client: httpx.AsyncClient, path: str, url: str
) -> None:
    """An exception in a handler is 500, as described."""
    app.router.routes[:] = [Route(path, boom)]

    response = await client.get(url)

    assert response.status_code == 500


@pytest.mark.parametrize(
    ("settings", "status"), [(PRODUCTION, 404), (WITH_TOKEN, 401)], indirect=["settings"]
)
@each_path
async def test_protected_paths_need_the_token(
    client: httpx.AsyncClient, path: str, url: str, status: int
) -> None:
    """Outside development the paths with security are 401 without it, 404 if none is configured."""
    response = await client.get(url)

    assert (response.status_code == status) is (path in GUARDED)


@pytest.mark.parametrize("settings", [WITH_TOKEN], indirect=True)
@pytest.mark.parametrize("authorization", [f"Bearer {TOKEN}", f"Basic {BASIC}"])
@pytest.mark.parametrize("url", URLS)
async def test_the_token_grants_access_to_every_path(
    client: httpx.AsyncClient, authorization: str, url: str
) -> None:
    """The token is accepted by both security schemes."""
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
    """Readiness, details and status page are as described in each state."""
    monkeypatch.setattr(state["readiness"], "check", AsyncMock(return_value=result))

    assert (await client.get(path)).status_code in {200, 503}


@pytest.mark.parametrize(
    "result",
    [
        Result("unavailable", "full_moon"),  # type: ignore[arg-type]
        Result("unavailable"),
        Result("degraded"),
        Result("unavailable", "migrations_pending"),
    ],
)
async def test_no_other_state_is_described(
    client: httpx.AsyncClient, state: State, monkeypatch: pytest.MonkeyPatch, result: Result
) -> None:
    """The description does not allow a state that the service does not have."""
    monkeypatch.setattr(state["readiness"], "check", AsyncMock(return_value=result))

    with pytest.raises(AssertionError):
        await client.get("/health/ready")
