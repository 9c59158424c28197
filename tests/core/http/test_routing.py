"""Routes that are grouped by Starlette's Mount."""

import httpx
import pytest
from prometheus_client import REGISTRY
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from groundwork import main
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
    monkeypatch.setattr(main, "ROUTES", [mount(), Route("/endpoint", Endpoint)])


def count(route: str) -> float:
    """Return how often the route has been requested."""
    labels = {"http_request_method": "GET", "http_route": route, "http_response_status_code": "204"}
    return REGISTRY.get_sample_value("http_server_request_duration_seconds_count", labels) or 0


async def test_metrics_have_the_whole_route(client: httpx.AsyncClient) -> None:
    """The label is the template with that of the group: not what is common to two groups."""
    before = count("/groups/items/{id}")
    await client.get("/groups/items/5")
    await client.get("/groups/items/6")

    assert count("/groups/items/{id}") == before + 2


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
