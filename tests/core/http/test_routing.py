"""Routes that are grouped by Starlette's Mount."""

import httpx
import pytest
from prometheus_client import REGISTRY
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Host, Match, Mount, Route, Router, WebSocketRoute
from starlette.types import Scope

from groundwork import main
from groundwork.core.config import Settings
from groundwork.core.http.operations import operation
from groundwork.openapi.describe import describe


@operation({204: None})
async def answer(_: Request) -> Response:
    """Answer."""
    return Response(status_code=204)


class Endpoint(HTTPEndpoint):
    """An endpoint with a method for each method of HTTP."""

    async def get(self, _: Request) -> Response:
        """Answer."""
        return Response(status_code=204)


def mount() -> Mount:
    """Return a group of routes within a group, beside one with the same inner path."""
    items = [Route("/{id:int}", answer), Route("/{id:int}", answer, methods=["PUT"])]
    other = Mount("/other", routes=[Route("/{id:int}", answer, methods=["DELETE"])])
    return Mount("/groups", routes=[Mount("/items", routes=items), other])


@pytest.fixture(autouse=True)
def routes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the application have the group."""
    files = Mount("/files", Response(status_code=204))
    monkeypatch.setattr(main, "ROUTES", [mount(), Route("/endpoint", Endpoint), files])


def count(route: str, status: str = "204") -> float:
    """Return how often the route has been requested."""
    labels = {"http_request_method": "GET", "http_route": route}
    labels["http_response_status_code"] = status
    return REGISTRY.get_sample_value("http_server_request_duration_seconds_count", labels) or 0


async def test_metrics_have_the_whole_route(client: httpx.AsyncClient) -> None:
    """The label is the template with that of the group: not what is common to two groups."""
    before = count("/groups/items/{id}")
    await client.get("/groups/items/5")
    await client.get("/groups/items/6")

    assert count("/groups/items/{id}") == before + 2


@pytest.mark.parametrize("path", ["/groups/nowhere", "/groups/items/nowhere"])
async def test_an_unknown_path_in_a_group_has_no_route(
    client: httpx.AsyncClient, path: str
) -> None:
    """It counts with other unknown paths, of which scanners request many."""
    before = count("", "404")
    await client.get(path)

    assert count("", "404") == before + 1


async def test_an_application_in_a_group_has_the_groups_path(client: httpx.AsyncClient) -> None:
    """Where no routes are known, as for StaticFiles, the label is that of the Mount."""
    before = count("/files")
    await client.get("/files/logo.svg")

    assert count("/files") == before + 1


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/groups/items/5", "GET, HEAD, PUT"),
        ("/groups/other/5", "DELETE"),
        ("/endpoint", "GET, HEAD"),
    ],
)
async def test_allow_has_the_methods(client: httpx.AsyncClient, path: str, allowed: str) -> None:
    """A 405 lists the methods of all routes of the group with the path, or of an HTTPEndpoint."""
    response = await client.post(path)

    assert response.status_code == 405
    assert response.headers["allow"] == allowed


async def test_a_path_ends_without_a_line_break(client: httpx.AsyncClient) -> None:
    """A path with a line break at its end is 404: a rule of the proxy for the path misses it."""
    assert (await client.get("/endpoint")).status_code == 204
    assert (await client.get("/endpoint%0A")).status_code == 404


@pytest.mark.parametrize("path", ["/endpoint/", "/groups/items/5/", "/groups"])
async def test_no_path_is_redirected(client: httpx.AsyncClient, path: str) -> None:
    """A slash more or less is 404, in a group too: a redirect would lead to the Host header."""
    assert (await client.get(path, headers={"Host": "evil.example"})).status_code == 404


def test_the_description_has_the_routes_of_a_group() -> None:
    """They are described under their whole path."""
    paths = describe("Groups", [mount()])["paths"]

    assert set(paths) == {"/groups/items/{id}", "/groups/other/{id}"}
    assert set(paths["/groups/items/{id}"]) == {"get", "put"}


def test_the_description_has_the_parameters_of_a_group() -> None:
    """A group's parameter has its name alone, like a route's: not its convertor."""
    group = Mount("/boards/{board_id:int}", routes=[Route("/cards/{id:int}", answer)])

    assert set(describe("Groups", [group])["paths"]) == {"/boards/{board_id}/cards/{id}"}


def test_the_description_has_the_routes_of_a_host() -> None:
    """A host has no path of its own, and a WebSocket is no part of the description."""
    host = Host("{name}.example.org", Router([Route("/cards", answer)]))
    socket = WebSocketRoute("/live", answer)

    assert set(describe("Hosts", [host, socket])["paths"]) == {"/cards"}


async def echo(request: Request) -> Response:
    """Answer with the path template and the parameters."""
    return Response(f"{request.scope['route'].path_format} {request.path_params}")


class Words(StringConvertor):
    """A convertor of one's own, whose values may have slashes."""

    regex = "[a-z/]+"


register_url_convertor("words", Words())

MANY = [
    *(Route(f"/feature{one}/{{id}}", echo) for one in range(20)),
    Route("/notes", echo, methods=["POST"]),
    Route("/notes", echo),
    Route("/notes/{id:int}", echo),
    Route("/notes/{name}", echo),
    Route("/notes/{id}/files/{path:path}", echo),
    Mount("/notes/archive", routes=[Route("/{id}", echo)]),
    Route("/notes/{id}/{kind}", echo),
    Route("/notes/{id}/files/{name}/raw", echo),
    Route("/v{version}/x", echo),
    Route("/v1/x", echo),
    Route("/{page}/{part}", echo),
    Route("/users/{id:int}", echo),
    Route("/lists/{id}/items", echo),
    Route("/lists/all/search", echo, methods=["POST"]),
    Route("/words/{all:words}", echo),
    Route("/words/a/b", echo),
]


PATHS = [
    *("/", "//", "/notes", "/notes/", "/notes/1", "/notes/a", "/notes/a/", "/notes//", "/other"),
    *("/notes/1/files/a/b", "/notes/archive/1", "/notes/archive", "/notes/archive/", "/other/1"),
    *("/feature19/1", "/feature1/", "/feature1/1/1", "/%6eotes/1", "/notes%0a", "/feature1/%2f"),
    *("/notes/1/x", "/notes/1/files/a/raw", "/v1/x", "/v2/x", "/users/1", "/users/a"),
    *("/lists/1/items", "/words/a/b"),
]


async def answers(
    settings: Settings, method: str, prefix: str
) -> list[tuple[int, str | None, str]]:
    """Return status, Allow and, if it is found, text of the response for each path."""
    transport = httpx.ASGITransport(main.create_app(settings), root_path=prefix)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        responses = [await client.request(method, prefix + path) for path in PATHS]
    return [
        (one.status_code, one.headers.get("allow"), one.text if one.is_success else "")
        for one in responses
    ]


@pytest.mark.parametrize("prefix", ["", "/prefix"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "BREW"])
async def test_the_routes_of_a_shape_are_all_that_may_match(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, method: str, prefix: str
) -> None:
    """A request gets the response that it gets where each route is tried."""
    monkeypatch.setattr(main, "ROUTES", MANY)
    found = await answers(settings, method, prefix)
    monkeypatch.setattr(main, "routers", lambda _: {})
    assert found == await answers(settings, method, prefix)


@pytest.mark.parametrize("prefix", ["", "/prefix"])
async def test_few_routes_are_tried(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, prefix: str
) -> None:
    """Of many features' routes, only those of one feature are tried, and those for any path."""
    tried: list[tuple[str, str]] = []
    matches = Route.matches

    def record(route: Route, scope: Scope) -> tuple[Match, Scope]:
        tried.append((route.path, scope["path"]))
        return matches(route, scope)

    monkeypatch.setattr(main, "ROUTES", MANY)
    monkeypatch.setattr(Route, "matches", record)
    await answers(settings, "GET", prefix)
    assert [one for one, path in tried if path == f"{prefix}/notes"] == ["/notes"]
    assert {one for one, path in tried if path == f"{prefix}/feature19/1"} == {"/feature19/{id}"}
