"""What every request passes first: its id, its time, its access line, and an early answer."""

import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.types import Message, Receive, Scope, Send

from groundwork.core.http.request_ids import new_request_ids, request_id_of, traceparent_of
from groundwork.core.http.static_responses import Prepared
from groundwork.core.lifecycle import Lifecycle
from groundwork.core.observability.logging import request_id, traceparent
from groundwork.core.observability.metrics import RequestMetrics
from groundwork.core.state import State

access = logging.getLogger("groundwork.access")

CLIENT_CLOSED_REQUEST = 499  # nginx's code for a client that left before the answer

# What the layers within would act upon; a request without them is plain.
_ACTED_UPON = (b"origin", b"content-length", b"transfer-encoding")
_READ = frozenset({b"x-request-id", b"traceparent", *_ACTED_UPON})


class RequestContext:
    """Gives each request its id, its time and its access line. Around the whole application.

    What asks all the time is in `quiet`, and logged at DEBUG when it answers 200 or 503: a failing
    probe is an answer, and readiness logs its transitions itself. Of those, `probes` are answered
    here where nothing else is to be done, since the way to a route costs as much as the server.
    """

    def __init__(
        self,
        app: Starlette,
        lifecycle: Lifecycle,
        requests: RequestMetrics,
        *,
        quiet: Collection[str],
        probes: Mapping[str, Callable[[State], Awaitable[Prepared]]],
    ) -> None:
        self.app = app
        self.lifecycle = lifecycle
        self.requests = requests
        self.quiet = quiet
        self.probes = probes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a plain probe, or pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        current, trace, is_plain = _read(scope["headers"])
        path, method = scope["path"], scope["method"]
        is_probe = path in self.probes and is_plain and method in {"GET", "HEAD"}
        if not is_probe or access.isEnabledFor(logging.DEBUG):
            tokens = request_id.set(current.decode()), traceparent.set(trace)
            try:
                await self._pass_on(scope, receive, send, current, started)
            finally:
                request_id.reset(tokens[0])
                traceparent.reset(tokens[1])
            return
        answer = await self.probes[path](scope["state"])
        seconds = time.perf_counter() - started
        headers = [*answer.headers, *self._headers(current, seconds)]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send(answer.body)
        self.requests.observe(method, path, answer.status, seconds)

    async def _pass_on(
        self, scope: Scope, receive: Receive, send: Send, current: bytes, started: float
    ) -> None:
        status = CLIENT_CLOSED_REQUEST

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                ours = self._headers(current, time.perf_counter() - started)
                message["headers"] = [*message.get("headers", ()), *ours]
            await send(message)

        self.requests.in_flight += 1
        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            self.requests.in_flight -= 1
            seconds = time.perf_counter() - started
            route = scope.get("route")
            template = "unmatched" if route is None else route.path
            self.requests.observe(scope["method"], template, status, seconds)
            self._log(scope, status, seconds)

    def _headers(self, current: bytes, seconds: float) -> list[tuple[bytes, bytes]]:
        headers = [
            (b"x-request-id", current),
            (b"server-timing", b"app;dur=%.3f" % (seconds * 1000)),
        ]
        if self.lifecycle.draining:
            headers.append((b"connection", b"close"))
        return headers

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        level = logging.ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO
        if scope["path"] in self.quiet and status in {
            HTTPStatus.OK,
            HTTPStatus.SERVICE_UNAVAILABLE,
        }:
            level = logging.DEBUG
        if not access.isEnabledFor(level):
            return
        client = scope.get("client")
        fields = {
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "duration_ms": round(seconds * 1000, 3),
            "client": client[0] if client else None,
        }
        access.log(level, "%s %s %d", scope["method"], scope["path"], status, extra=fields)


def _read(headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, str | None, bool]:
    """Return the request's id, the caller's or a new one; its trace, if any; if it is plain."""
    current = trace = None
    is_plain = True
    for name, value in headers:
        if name not in _READ:
            continue
        if name == b"x-request-id":
            current = request_id_of(value) or current
        elif name == b"traceparent":
            trace = traceparent_of(value) or trace
        else:
            is_plain = False
    return current or next(new_request_ids), trace, is_plain
