"""Raw requests over a plain socket, which no client library has normalized."""

import json
import socket
from collections.abc import Iterator

import pytest

from groundwork.core.http.receiving import MAX_BODY_BYTES
from tests.servers import APP, PATIENCE, Server, serve, wait_until
from tests.sockets import exchange

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
TOO_LARGE = MAX_BODY_BYTES + 1
LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def request(target: bytes = b"/nowhere", *headers: bytes, method: bytes = b"GET") -> bytes:
    """Return the head of a request with `Connection: close`."""
    lines = (method + b" " + target + b" HTTP/1.1", b"Host: x", b"Connection: close", *headers)
    return b"\r\n".join((*lines, b"", b""))


def post(*headers: bytes, body: bytes = b"12345", target: bytes = b"/nowhere") -> bytes:
    """Return a POST request with these headers and this body."""
    return request(target, *headers, method=b"POST") + body


@pytest.mark.parametrize(
    "target",
    [
        b"/%00",
        b"/%0d%0aX-Evil:%201",
        b'/%0a{"level":"CRITICAL"}',
        b"/%1b[31m",
        b"/%e2%80%a8",
        b"/%ff%fe",
        b"/%c0%af",
        b"/%ed%a0%80",
        b"/%",
        b"/%zz",
        b"//evil.example/x",
        b"///evil.example",
        b"/../../etc/passwd",
        b"/%2e%2e/%2e%2e/etc/passwd",
        b"/health/../health/live",
        b"//health/live",
        b"/docs/..%2fopenapi.json",
        b"/<script>",
        b"/" + b"a" * 60_000,
        b"*",
    ],
)
def test_a_hostile_path_is_not_found(server: Server, target: bytes) -> None:
    """A hostile path is 404, its instance is plain ASCII, and no header or log line is forged."""
    before = len(server.lines())
    (response,) = exchange(server.port, request(target))
    request_id = response.headers["x-request-id"]
    wait_until(lambda: any(request_id in line for line in server.lines()[before:]))
    lines = [json.loads(line) for line in server.lines()[before:]]

    instance = response.json()["instance"]
    assert response.status == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert "x-evil" not in response.headers
    assert instance.isascii()
    assert instance.isprintable()
    assert instance[:2] != "//"
    assert not set(instance) & set("<>\"' ")
    assert [one["status"] for one in lines if one.get("request_id") == request_id] == [404]


@pytest.mark.parametrize(
    "data",
    [
        request(b"/\xc3\xa9"),
        request(b"/\x00"),
        request(b"/a b"),
        request(b"no-slash"),
        request(b"/?" + b"a" * 65_540),
        request(method=b"BREW"),
        request(method=b"get"),
        request(method=b"M" * 10_000),
        request(method=b"\xff"),
        request(b"evil.example:80", method=b"CONNECT"),
        request(b"/", b"Bad Name: x"),
        request(b"/", b": x"),
        request(b"/", b"X: a\x00"),
        request(b"/", b"X-Request-ID: a\rX-Evil: 1"),
        request(b"/", b"X-Request-ID: a\r\n X-Evil: 1"),
        post(b"Content-Length: -1"),
        post(b"Content-Length: +5"),
        post(b"Content-Length: 0x5"),
        post(b"Content-Length: 5, 5"),
        post(b"Content-Length: \xd9\xa5"),
        post(b"Content-Length: " + b"9" * 5000),
        post(b"Content-Length: 5", b"Content-Length: 5"),
        post(b"Content-Length : 5"),
        post(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        post(b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        post(b"Transfer-Encoding: xchunked"),
        post(b"Transfer-Encoding: chunked, identity"),
        post(b"Transfer-Encoding: chunked", body=b"-1\r\n"),
        post(b"Transfer-Encoding: chunked", body=b"f" * 20 + b"\r\n"),
        LIVE.replace(b"1.1", b"9.9"),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_malformed_requests_are_rejected(server: Server, data: bytes) -> None:
    """A malformed request gets one 400, which repeats nothing of it, and the connection closes."""
    (response,) = exchange(server.port, data)

    assert (response.status, response.headers["connection"]) == (400, "close")
    assert response.body == b"Invalid HTTP request received."


@pytest.mark.parametrize("method", [b"TRACE", b"CONNECT", b"PROPFIND", b"M-SEARCH"])
def test_an_unsupported_method_is_405(server: Server, method: bytes) -> None:
    """An unsupported method is 405, and TRACE does not echo headers."""
    (response,) = exchange(
        server.port, request(b"/health/live", b"X-Secret: hunter2", method=method)
    )

    assert response.status == 405
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert b"hunter2" not in response.body


@pytest.mark.parametrize(
    "headers",
    [
        [b"X-%d: x" % number for number in range(5000)],
        [b"X-Large: " + b"x" * 60_000],
        [b"Host: evil.example"],
        [b"X-Forwarded-Host: evil.example", b"X-Forwarded-Prefix: //evil.example"],
        [b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13"],
        [b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: "],
        [b"Expect: 100-continue"],
        [b"Range: bytes=0-0,1-1"],
    ],
    ids=["many", "large", "host", "forwarded", "websocket", "h2c", "expect", "range"],
)
@pytest.mark.parametrize("target", [b"/", b"/docs", b"/openapi.json", b"/health/live"])
def test_hostile_headers_do_not_change_the_response(
    server: Server, target: bytes, headers: list[bytes]
) -> None:
    """Many, large or hostile headers get the usual response, which repeats none of them."""
    (response,) = exchange(server.port, request(target, *headers))

    assert response.status == 200
    assert b"evil" not in response.body
    assert "evil" not in str(response.headers)


@pytest.mark.parametrize("host", [b"", b"evil.example", b'"><script>', b"a:b:c", b"\xff", b"[::"])
def test_the_host_header_is_ignored(server: Server, host: bytes) -> None:
    """No response depends on the Host header or contains it."""
    responses = [
        exchange(server.port, request(target).replace(b"x", host, 1)) for target in (b"/", b"/a")
    ]

    assert [response.status for (response,) in responses] == [200, 404]
    assert not [one for (one,) in responses if b"evil" in one.body or b"><script>" in one.body]


def test_pipelined_requests_get_responses_in_order(server: Server) -> None:
    """Each pipelined request gets its response and request ID, until one closes the connection."""
    responses = exchange(server.port, LIVE * 3 + request(b"/nowhere") + LIVE)

    assert [response.status for response in responses] == [200, 200, 200, 404]
    assert len({response.headers["x-request-id"] for response in responses}) == 4


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_client_that_sends_no_more_gets_its_response(server: Server, method: bytes) -> None:
    """A client such as `nc -N` closes its side of the connection right after the request."""
    responses = exchange(server.port, LIVE.replace(b"GET", method), hang_up=True)

    assert [response.status for response in responses] == [200]


def test_requests_of_a_client_that_reads_nothing_are_left_with_it(server: Server) -> None:
    """While the responses wait for the client, a few requests wait in the service, not all."""
    one = LIVE.replace(b"/health/live", b"/openapi.json").replace(b"x", b"x" * 4000, 1)
    with socket.create_connection(("127.0.0.1", server.port), timeout=2) as connection:
        with pytest.raises(TimeoutError):
            connection.sendall(one * 8000)
        assert server.get("/health/live").status_code == 200


@pytest.mark.parametrize("version", [b" HTTP/1.0\r\nHost: x", b" HTTP/1.0", b""])
def test_http_1_0_is_supported(server: Server, version: bytes) -> None:
    """An HTTP/1.0 request, with or without Host, gets a response, and the connection closes."""
    (response,) = exchange(server.port, b"GET /health/live" + version + b"\r\n\r\n")

    assert response.json() == {"status": "ok"}


@pytest.fixture(scope="module")
def reader() -> Iterator[Server]:
    """Run the service with a route that reads its body."""
    protocol = ("--http", "groundwork.protocol:Protocol")  # as `groundwork serve` has it
    with serve((*APP, *protocol), DATABASE_URL=NOWHERE) as server:
        yield server


def test_headers_that_never_end(server: Server) -> None:
    """Headers are refused after 64 KiB, before they take more memory, and the log says so."""
    (response,) = exchange(server.port, LIVE[:-2] + b"X-Endless: ", b"x" * 65_536)

    assert (response.status, response.headers["connection"]) == (400, "close")
    assert response.body == b"The headers have more than 65536 bytes."
    line = f'"WARNING","logger":"uvicorn.error","message":"{response.body.decode()}"'
    wait_until(lambda: any(line in one for one in server.lines()))


@pytest.mark.parametrize("start", [b"0\r\nX-Trailer: ", b"1;extension="])
def test_the_end_of_a_body_that_never_ends(reader: Server, start: bytes) -> None:
    """So is what is neither body nor the end of it: a trailer, the extension of a chunk."""
    head = post(b"Transfer-Encoding: chunked", body=b"", target=b"/echo")
    (response,) = exchange(reader.port, head, start, b"x" * 65_536)

    assert (response.status, response.headers["connection"]) == (400, "close")


@pytest.mark.parametrize(
    ("length", "body", "expected"),
    [
        (b"Content-Length: 3", b"12345", (200, 3)),
        (b"Content-Length: " + b"0" * 5000 + b"5", b"12345", (200, 5)),
        (b"Content-Length: 18446744073709551615", b"12345", (413, None)),
        (b"Transfer-Encoding: chunked", b"%x\r\n" % TOO_LARGE + b"x" * TOO_LARGE, (413, None)),
    ],
    ids=["less than sent", "zeros", "huge", "chunked"],
)
def test_a_wrong_content_length(
    reader: Server, length: bytes, body: bytes, expected: tuple[int, int | None]
) -> None:
    """A body longer than declared is cut; a body over the limit is 413."""
    (response,) = exchange(reader.port, post(length, body=body, target=b"/echo"))

    received = response.json() if response.status == 200 else None
    assert (response.status, received) == expected
    assert response.headers["connection"] == "close"


PREFLIGHT = (b"Origin: https://a.example", b"Access-Control-Request-Method: PUT")


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize(
    ("method", "target", "size", "status"),
    [
        (b"POST", b"/echo", 8_000_000, 413),
        (b"POST", b"/nowhere", 900_000, 404),
        (b"GET", b"/health/live", 8_000_000, 200),
        (b"OPTIONS", b"/echo", 8_000_000, 400),
    ],
)
def test_a_client_that_sends_first_gets_its_response(  # noqa: PLR0913 - a table
    reader: Server, method: bytes, target: bytes, size: int, status: int, *, is_chunked: bool
) -> None:
    """A body that no handler reads is discarded, so that the response is not lost."""
    header, body = b"Content-Length: %d" % size, b"x" * size
    if is_chunked:
        header, body = b"Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
    head = request(target, header, *PREFLIGHT, method=method)
    (response,) = exchange(reader.port, head + body)

    assert response.status == status


UPGRADE = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMA")


@pytest.mark.parametrize("pause", [False, True])
@pytest.mark.parametrize(
    "sent",
    [
        (b"Content-Length: %d" % len(LIVE), LIVE),
        (b"Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(LIVE), LIVE)),
    ],
    ids=["length", "chunked"],
)
def test_a_request_to_upgrade_keeps_its_body(
    reader: Server, sent: tuple[bytes, bytes], *, pause: bool
) -> None:
    """The body, which may look like a request, is read; Java's client sends such requests."""
    head = post(*UPGRADE, sent[0], body=b"", target=b"/echo").replace(b"Connection: close\r\n", b"")
    rest = sent[1] + LIVE + request()
    responses = exchange(reader.port, head, rest) if pause else exchange(reader.port, head + rest)

    assert [response.status for response in responses] == [200, 200, 404]
    assert responses[0].json() == len(LIVE)
    assert "Unsupported upgrade request." not in "".join(reader.lines())


def test_many_pipelined_requests_to_upgrade_get_responses(reader: Server) -> None:
    """Each is read in its turn, without recursion."""
    one = LIVE.replace(b"\r\n\r\n", b"\r\n%b\r\n\r\n" % b"\r\n".join(UPGRADE))
    responses = exchange(reader.port, one * 2000 + request())

    assert [response.status for response in responses] == [200] * 2000 + [404]


def test_a_disconnect_is_seen_behind_pipelined_requests(reader: Server) -> None:
    """A request whose connection closes logs no error, whatever was pipelined after it."""
    before = len(reader.lines())
    slow = LIVE.replace(b"/health/live", b"/hang/0.2")
    exchange(reader.port, slow + LIVE + b"invalid\r\n\r\n")
    wait_until(lambda: "GET /hang/0.2" in "".join(reader.lines()[before:]))

    assert '"level":"ERROR"' not in "".join(reader.lines()[before:])


def test_what_follows_the_last_request_to_upgrade_is_ignored(reader: Server) -> None:
    """After `Connection: close` it costs the request before it no response."""
    responses = exchange(reader.port, request(b"/nowhere", *UPGRADE) + LIVE)

    assert [response.status for response in responses] == [404]


@pytest.mark.parametrize("space", [b" ", b"\t", b" \t "])
def test_white_space_around_a_value_is_no_part_of_it(server: Server, space: bytes) -> None:
    """A header's value is the same with white space around it (RFC 9110, 5.5)."""
    header = b"X-Request-ID:%bgiven%b" % (space, space)
    (response,) = exchange(server.port, request(b"/nowhere", header))

    assert response.headers["x-request-id"] == "given"


@pytest.mark.parametrize("value", [b"100-continue", b"100-Continue \t"])
def test_a_client_that_waits_is_told_to_continue(reader: Server, value: bytes) -> None:
    """It sends the body then, which the handler waits for."""
    head = post(b"Content-Length: 5", b"Expect: %b" % value, body=b"", target=b"/echo")
    with socket.create_connection(("127.0.0.1", reader.port), PATIENCE) as connection:
        connection.sendall(head)
        interim = connection.recv(1000)
        connection.sendall(b"hello")
        response = connection.recv(1000)

    assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert response.startswith(b"HTTP/1.1 200 OK\r\n")


def test_trailers_are_no_headers(reader: Server) -> None:
    """What a proxy removes from the headers does not come in by the end of the body."""
    body = b"0\r\nX-Request-ID: trailer\r\nAuthorization: Bearer x\r\n\r\n"
    (response,) = exchange(
        reader.port, post(b"Transfer-Encoding: chunked", body=body, target=b"/echo")
    )

    assert (response.status, response.json()) == (200, 0)
    assert response.headers["x-request-id"] != "trailer"


@pytest.mark.parametrize(
    "data",
    [
        post(b"Content-Length: 6", target=b"/echo"),
        post(b"Transfer-Encoding: chunked", body=b"6\r\n12345", target=b"/echo"),
    ],
)
def test_an_incomplete_body(reader: Server, data: bytes) -> None:
    """A client that disconnects during its body gets no response, and no error is logged."""
    before = len(reader.lines())
    responses = exchange(reader.port, data, hang_up=True)

    wait_until(lambda: '"status":499' in reader.lines()[-1])
    assert responses == []
    assert not [line for line in reader.lines()[before:] if '"level":"ERROR"' in line]
