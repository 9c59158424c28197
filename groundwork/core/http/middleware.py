"""The outermost layer: request ID, trace ID, metrics and access log of every request."""

import logging
import random
import re
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus

from msgspec import UNSET
from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groundwork.core.http.cors import CORS
from groundwork.core.http.receiving import Body
from groundwork.core.http.routing import flatten
from groundwork.core.lifecycle import Lifecycle
from groundwork.core.observability import metrics
from groundwork.core.observability.logging import AccessLine, AccessRecord, request_id, traceparent

access_log = logging.getLogger("groundwork.access")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:+/=@-]{1,128}")
# W3C Trace Context (3.2.2, 4): IDs of zeros are invalid; after version 00 more may follow.
_IDS = rb"(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACEPARENT = re.compile(rb"(?!ff|00.{54})[0-9a-f]{2}-%b(-.*)?" % _IDS)


@dataclass(eq=False)
class RequestContext:
    """The outermost middleware; GET and HEAD requests to a probe go straight to its handler."""

    app: Starlette
    cors: CORS  # around the application
    lifecycle: Lifecycle
    probes: Mapping[str, ASGIApp]  # by path, for GET and HEAD in place of the application
    quiet: Collection[str] = ()  # paths whose successful requests are logged at DEBUG too
    server_timing: bool = False
    # By id(): a route has no hash.
    _templates: dict[int, str] = field(default_factory=dict, init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; count, time and log it when its response is sent."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self.lifecycle.has_served = True
        started = time.perf_counter()
        current, trace, origin, has_body = _read(scope["headers"])
        tokens = request_id.set(current), traceparent.set(trace)
        body = Body(receive) if has_body else None
        # As routes have it: without the prefix that `uvicorn --root-path` adds.
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        status = 499  # nginx's status code for a client that disconnected
        method = metrics.method_label(scope["method"])
        active = metrics.active_requests(method, scope.get("scheme", "http"))
        app: ASGIApp = self.app
        added = self.cors.headers(origin)
        if scope["method"] == "OPTIONS":
            app, added = self.cors, []  # it adds them itself
        elif scope["method"] in {"GET", "HEAD"}:
            app = self.probes.get(path, app)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = self._headers(current, started)
                message = {**message, "headers": [*message.get("headers", ()), *added, *own]}
            elif body and body.has_more and not message.get("more_body"):
                await send({**message, "more_body": True})
                await body.discard()
                message = {"type": "http.response.body"}
            await send(message)

        active.count += 1
        try:
            await app(scope, body.receive if body else receive, send_with_headers)
        finally:
            active.count -= 1
            seconds = time.perf_counter() - started
            route = path if path in self.probes else self._template(scope.get("route"))
            metrics.request_duration(method, route, status).observe(seconds)
            self._log(scope, path, current, status, seconds)
            request_id.reset(tokens[0])
            traceparent.reset(tokens[1])

    def _template(self, route: BaseRoute | None) -> str:
        """Return the path template of a route, /api/notes/{id}; "" if the path has no route."""
        if id(route) not in self._templates:
            self._templates |= {id(one): path for path, one in flatten(self.app.routes)}
        path = "" if getattr(route, "routes", ()) else getattr(route, "path", "")
        return self._templates.setdefault(id(route), path)

    def _headers(self, current: str, started: float) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-request-id", current.encode()), (b"x-content-type-options", b"nosniff")]
        if self.server_timing:
            milliseconds = (time.perf_counter() - started) * 1000
            headers.append((b"server-timing", b"app;dur=%.3f" % milliseconds))
        if self.lifecycle.draining:
            headers.append((b"connection", b"close"))
        return headers

    def _log(self, scope: Scope, path: str, current: str, status: int, seconds: float) -> None:
        level = logging.ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO
        # A probe that fails has succeeded as a request; readiness logs its transitions itself.
        if status in {200, 503} and (path in self.quiet or path in self.probes):
            level = logging.DEBUG
        if not access_log.isEnabledFor(level):
            return
        trace, client = traceparent.get(), scope.get("client")
        line = AccessLine(
            timestamp=datetime.now(UTC),
            level=logging.getLevelName(level),
            logger=access_log.name,
            message=f"{scope['method']} {scope['path']} {status}",
            request_id=current,
            trace_id=trace.split("-")[1] if trace else UNSET,
            method=scope["method"],
            path=scope["path"],
            status=status,
            duration_ms=round(seconds * 1_000_000) / 1000,
            client=client[0] if client else None,
        )
        access_log.handle(AccessRecord(level, line))


def _read(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, str | None, bytes | None, bool]:
    """Return request ID (the client's if valid), traceparent, Origin, and whether a body comes."""
    current = trace = origin = None
    has_body = False
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            current = value.decode()
        elif name == b"traceparent" and _TRACEPARENT.fullmatch(value):
            trace = f"00{value[2:55].decode()}"  # the version that is understood
        elif name == b"origin":
            origin = value
        elif name in {b"content-length", b"transfer-encoding"}:
            has_body = True
    return current or random.getrandbits(128).to_bytes(16).hex(), trace, origin, has_body
