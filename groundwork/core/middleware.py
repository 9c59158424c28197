"""What every request passes: request id, timing and access line; the limit of its body."""

import logging
import re
import time
import uuid
from collections.abc import Collection
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groundwork.core.exceptions import problem
from groundwork.core.lifecycle import Lifecycle
from groundwork.core.logging import request_id, traceparent
from groundwork.core.metrics import RequestMetrics

access = logging.getLogger("groundwork.access")

CLIENT_CLOSED_REQUEST = 499  # nginx's code for a client that left before the answer
MAX_BODY_BYTES = 1024 * 1024

_TOO_LARGE = "The body is over 1 MiB."
# Version 00 of W3C Trace Context; ids of zeros alone are invalid there.
_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:+/=@-]{1,128}")


class RequestContext:
    """Gives each request its id, its time and its access line. Outermost.

    What asks all the time, probes above all, is in `quiet` and logged at DEBUG when it answers
    200 or 503: a failing probe is an answer, and readiness logs its transitions itself.
    """

    def __init__(
        self,
        app: ASGIApp,
        lifecycle: Lifecycle,
        requests: RequestMetrics,
        quiet: Collection[str],
    ) -> None:
        self.app = app
        self.lifecycle = lifecycle
        self.requests = requests
        self.quiet = quiet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with its id and its time on the answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        current, trace = _ids(scope)
        started = time.perf_counter()
        status = CLIENT_CLOSED_REQUEST

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                elapsed = (time.perf_counter() - started) * 1000
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", current.encode()),
                    (b"server-timing", b"app;dur=%.3f" % elapsed),
                ]
                if self.lifecycle.draining:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        tokens = request_id.set(current), traceparent.set(trace)
        self.requests.in_flight += 1
        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            self.requests.in_flight -= 1
            seconds = time.perf_counter() - started
            self.requests.observe(scope, status, seconds)
            self._log(scope, status, seconds)
            request_id.reset(tokens[0])
            traceparent.reset(tokens[1])

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


class BodyLimit:
    """Refuses bodies over MAX_BODY_BYTES: by Content-Length at once, else while they come in."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 413 and close: the rest of the body is not wanted."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > MAX_BODY_BYTES:
            refusal = problem(scope, 413, _TOO_LARGE, {"Connection": "close"})
            await refusal(scope, receive, send)
            return
        received = 0

        async def receive_counting() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise HTTPException(413, _TOO_LARGE, {"Connection": "close"})
            return message

        await self.app(scope, receive_counting, send)


def _ids(scope: Scope) -> tuple[str, str | None]:
    """Return the request's id, the caller's or a new one, and its trace context, if any."""
    current = trace = None
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            current = bytes(value).decode()
        elif name == b"traceparent" and _TRACEPARENT.fullmatch(value):
            trace = bytes(value).decode()
    return current or str(uuid.uuid4()), trace
