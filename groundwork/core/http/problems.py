"""Errors as RFC 9457 problem details, those that nobody caught as well."""

import logging
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from itertools import islice
from urllib.parse import quote

import asyncpg
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groundwork.core.observability.logging import request_id

logger = logging.getLogger(__name__)

_HIDDEN = "An unexpected error."
_MAX_ERRORS = 100  # or an answer might be many times its request


class Invalid(HTTPException):
    """What a request brings is refused: `errors` says where and why, as RFC 9457 shows it."""

    def __init__(self, status_code: int, detail: str, errors: Iterable[dict[str, str]]) -> None:
        super().__init__(status_code, detail)
        self.errors = list(islice(errors, _MAX_ERRORS))


@contextmanager
def conflict(**details: str) -> Iterator[None]:
    """Answer 409 with its detail where a unique constraint of this name is broken.

    Any other constraint is ours to keep: that one is broken stays a fault of the service's.
    """
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name not in details:
            raise
        raise HTTPException(409, details[error.constraint_name]) from None


def problem(
    scope: Scope,
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    **members: object,
) -> JSONResponse:
    """Return an application/problem+json response (RFC 9457), `members` beside the usual ones."""
    return JSONResponse(
        {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail,
            "instance": "/" + quote(scope["path"].lstrip("/")),  # // would name a host
            "request_id": request_id.get(),
            **members,
        },
        status,
        headers,
        "application/problem+json",
    )


async def http_exception(request: Request, error: Exception) -> JSONResponse:
    """Answer what a route or the router raised: 404, 405 with Allow, and the like."""
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette calls it for no other
    headers = error.headers
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": _allowed(request)}
    members = {"errors": error.errors} if isinstance(error, Invalid) else {}
    return problem(request.scope, error.status_code, error.detail, headers, **members)


async def no_database(request: Request, error: Exception) -> JSONResponse:
    """Answer whom the database has failed: later it may do; readiness says the same of all."""
    cause = error.__cause__ or error
    logger.warning("lost the database", extra={"cause": f"{type(cause).__name__}: {cause}"})
    return problem(request.scope, 503, "The database can't be reached.", {"Retry-After": "1"})


def _allowed(request: Request) -> str:
    """Return what the path answers; Starlette knows but its first route (RFC 9110, 15.5.6)."""
    methods: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return ", ".join(sorted(methods))


class ErrorBoundary:
    """Answers what nobody caught. Inside CORS, so that a browser may read the answer."""

    def __init__(self, app: ASGIApp, *, debug: bool) -> None:
        self.app = app
        self.debug = debug

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; log an exception once and answer it as a problem."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_noting_start(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_noting_start)
        except ClientDisconnect:
            logger.info("the client left in the middle of its request")
        except Exception as error:
            logger.exception("unhandled exception")
            # With the answer half sent, an incomplete one makes the server cut the connection.
            if not started:
                shown = "".join(traceback.format_exception(error)) if self.debug else _HIDDEN
                await problem(scope, 500, shown)(scope, receive, send)
