"""What arrives on a bare socket, where no client library has put it right."""

import json
from collections.abc import Iterator

import pytest

from groundwork.core.http.body_limit import MAX_BODY_BYTES
from tests.servers import APP, Server, serve, wait_until
from tests.sockets import exchange

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
TOO_LARGE = MAX_BODY_BYTES + 1
LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def request(target: bytes = b"/nowhere", *headers: bytes, method: bytes = b"GET") -> bytes:
    """Return the head of a request that ends its connection."""
    lines = (method + b" " + target + b" HTTP/1.1", b"Host: x", b"Connection: close", *headers)
    return b"\r\n".join((*lines, b"", b""))


def post(*headers: bytes, body: bytes = b"12345", target: bytes = b"/nowhere") -> bytes:
    """Return a POST with just these headers about its body."""
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
    """It is 404, its problem names a plain path, and it forges neither header nor log line."""
    before = len(server.lines())
    (answer,) = exchange(server.port, request(target))
    request_id = answer.headers["x-request-id"]
    wait_until(lambda: any(request_id in line for line in server.lines()[before:]))
    lines = [json.loads(line) for line in server.lines()[before:]]

    instance = answer.json()["instance"]
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert "x-evil" not in answer.headers
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
        request(b"/?" + b"a" * 100_000),
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
def test_what_is_no_http_is_refused(server: Server, data: bytes) -> None:
    """It gets one 400 that repeats nothing of it, and the end of its connection."""
    (answer,) = exchange(server.port, data)

    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert answer.body == b"Invalid HTTP request received."


@pytest.mark.parametrize("method", [b"TRACE", b"CONNECT", b"PROPFIND", b"M-SEARCH"])
def test_a_method_that_nobody_serves(server: Server, method: bytes) -> None:
    """It is 405 as any other, and TRACE tells no headers."""
    (answer,) = exchange(server.port, request(b"/health/live", b"X-Secret: hunter2", method=method))

    assert answer.status == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert b"hunter2" not in answer.body


@pytest.mark.parametrize(
    "headers",
    [
        [b"X-%d: x" % number for number in range(5000)],
        [b"X-Large: " + b"x" * 500_000],
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
def test_headers_change_no_answer(server: Server, target: bytes, headers: list[bytes]) -> None:
    """However many, large or hostile they are, the answer is the usual one, and repeats none."""
    (answer,) = exchange(server.port, request(target, *headers))

    assert answer.status == 200
    assert b"evil" not in answer.body
    assert "evil" not in str(answer.headers)


@pytest.mark.parametrize("host", [b"", b"evil.example", b'"><script>', b"a:b:c", b"\xff", b"[::"])
def test_the_host_decides_nothing(server: Server, host: bytes) -> None:
    """No answer depends on Host or names it."""
    answers = [
        exchange(server.port, request(target).replace(b"x", host, 1)) for target in (b"/", b"/a")
    ]

    assert [answer.status for (answer,) in answers] == [200, 404]
    assert not [one for (one,) in answers if b"evil" in one.body or b"><script>" in one.body]


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    """Each has an answer and an id of its own, and none follows the one that closes."""
    answers = exchange(server.port, LIVE * 3 + request(b"/nowhere") + LIVE)

    assert [answer.status for answer in answers] == [200, 200, 200, 404]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 4


@pytest.mark.parametrize("version", [b" HTTP/1.0\r\nHost: x", b" HTTP/1.0", b""])
def test_an_old_client_is_answered(server: Server, version: bytes) -> None:
    """HTTP/1.0, with a Host or without, gets its answer and the end of the connection."""
    (answer,) = exchange(server.port, b"GET /health/live" + version + b"\r\n\r\n")

    assert answer.json() == {"status": "ok"}


@pytest.fixture(scope="module")
def reader() -> Iterator[Server]:
    """Give the service with a route that reads its body."""
    with serve(APP, DATABASE_URL=NOWHERE) as server:
        yield server


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
def test_a_length_that_lies(
    reader: Server, length: bytes, body: bytes, expected: tuple[int, int | None]
) -> None:
    """A body longer than was told is cut, one beyond the limit is refused."""
    (answer,) = exchange(reader.port, post(length, body=body, target=b"/echo"))

    received = answer.json() if answer.status == 200 else None
    assert (answer.status, received) == expected
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    "data",
    [
        post(b"Content-Length: 6", target=b"/echo"),
        post(b"Transfer-Encoding: chunked", body=b"6\r\n12345", target=b"/echo"),
    ],
)
def test_a_body_that_ends_early(reader: Server, data: bytes) -> None:
    """A client that hangs up in the middle of its body gets no answer, and leaves no error."""
    before = len(reader.lines())
    answers = exchange(reader.port, data, hang_up=True)

    wait_until(lambda: '"status": 499' in reader.lines()[-1])
    assert answers == []
    assert not [line for line in reader.lines()[before:] if '"level": "ERROR"' in line]
