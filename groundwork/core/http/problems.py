"""Errors as RFC 9457 problem details, unhandled exceptions included."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from http import HTTPStatus
from typing import Annotated, Literal
from urllib.parse import quote

import asyncpg
from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groundwork.core.database.errors import UnavailableError, reason_of
from groundwork.core.http.responses import Json
from groundwork.core.observability.logging import request_id

logger = logging.getLogger(__name__)

DATABASE_ERRORS = (UnavailableError, asyncpg.PostgresError)
_PLAN_ERRORS = (
    asyncpg.InvalidCachedStatementError,
    asyncpg.OutdatedSchemaCacheError,
    asyncpg.DataError,
    asyncpg.UndefinedColumnError,
)
_REFUSALS = {
    "pool_saturated": "The service is overloaded.",
    "database_read_only": "The database is read-only.",
    "migrations_changed": "The database was just migrated.",
}

_MAX_ERRORS = 100  # or a response might be many times its request
_URI = {"format": "uri-reference"}


class InvalidPart(Struct):
    """One error in a request: in its body or in its query."""

    detail: str
    pointer: Annotated[str | UnsetType, Meta(description="Where in the body (RFC 6901).")] = UNSET
    parameter: Annotated[str | UnsetType, Meta(description="The query parameter.")] = UNSET


class Problem(Struct):
    """Problem details (RFC 9457)."""

    type: Literal["about:blank"]
    title: Annotated[str, Meta(description="The status in words.")]
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str
    instance: Annotated[str, Meta(description="The path.", extra_json_schema=_URI)]
    request_id: Annotated[str, Meta(description="As in X-Request-ID.")]
    errors: Annotated[list[InvalidPart], Meta(min_length=1, max_length=_MAX_ERRORS)] | UnsetType = (
        UNSET
    )


class Invalid(HTTPException):
    """The request is invalid: `errors` are pairs of a pointer or parameter, and a detail."""

    def __init__(
        self,
        status: int,
        detail: str,
        place: Literal["pointer", "parameter"],
        errors: Sequence[tuple[str, str]],
    ) -> None:
        super().__init__(status, detail)
        self.errors = [InvalidPart(text, **{place: name}) for name, text in errors[:_MAX_ERRORS]]


@contextmanager
def conflict(**details: str) -> Iterator[None]:
    """Turn the violation of a unique constraint of this name into 409 with its detail.

    Any other violation is a bug, and 500.
    """
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name not in details:
            raise
        raise HTTPException(409, details[error.constraint_name]) from None


def found[T](row: T | None) -> T:
    """Return the row.

    Raises:
        HTTPException: 404 if there is none.
    """
    if row is None:
        raise HTTPException(404)
    return row


def problem(
    scope: Scope,
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    errors: list[InvalidPart] | UnsetType = UNSET,
) -> Response:
    """Return an application/problem+json response."""
    title, instance = HTTPStatus(status).phrase, quote(scope["path"].lstrip("/"))
    body = Problem(
        "about:blank", title, status, detail, f"/{instance}", request_id.get() or "", errors
    )
    return Json(body, status, headers, "application/problem+json")


async def http_exception(request: Request, error: Exception) -> Response:
    """Return the response for what a route or the router raised: 404, 405 with Allow and so on."""
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette calls it for no other
    headers = error.headers
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": _allowed(request)}
    errors = error.errors if isinstance(error, Invalid) else UNSET
    return problem(request.scope, error.status_code, error.detail, headers, errors)


async def database_error(request: Request, error: Exception) -> Response:
    """Return 503 when the database cannot serve now; the client may retry.

    Raises:
        Exception: the error itself, where it is in the statement or the code.
    """
    reason: str | None = reason_of(error)
    if reason is None:
        # What was prepared before a migration may not fit the tables any more.
        is_of_plan = isinstance(error, _PLAN_ERRORS)
        if not is_of_plan or not await request.state["readiness"].sessions_were_renewed():
            raise error
        reason = "migrations_changed"
    cause = error.__cause__ or error
    fields = {"reason": reason, "cause": f"{type(cause).__name__}: {cause}"}
    logger.warning("request failed by the database", extra=fields)
    detail = _REFUSALS.get(reason, "The database is unavailable.")
    return problem(request.scope, 503, f"{detail} Retry later.", {"Retry-After": "1"})


def _allowed(request: Request) -> str:
    """Return the methods of the path: Starlette knows only its first route (RFC 9110, 15.5.6)."""
    methods: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return ", ".join(sorted(methods))


class ErrorBoundary:
    """Turns unhandled exceptions into 500. Inside CORS, so that a browser may read the response."""

    def __init__(self, app: ASGIApp, *, debug: bool) -> None:
        self.app = app
        self.debug = debug

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; log an unhandled exception once and respond to it."""
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
            logger.info("client disconnected")
        except Exception as error:
            await _note_pending(scope, error)
            logger.exception("unhandled exception")
            # An incomplete response makes the server close the connection.
            if not started:
                await self._response(scope, error)(scope, receive, send)

    def _response(self, scope: Scope, error: Exception) -> Response:
        if not self.debug:
            return problem(scope, 500, "An unexpected error.")
        return _Traceback(self.app).debug_response(Request(scope), error)


class _Traceback(ServerErrorMiddleware):
    """Starlette's page for a browser, with the notes of the exception, and text for others."""

    def generate_html(self, exc: Exception, limit: int = 7) -> str:
        notes = escape("\n".join(getattr(exc, "__notes__", ())))
        return super().generate_html(exc, limit).replace("</h2>", f"</h2><pre>{notes}</pre>", 1)


async def _note_pending(scope: Scope, error: Exception) -> None:
    """Name the pending migrations where a table or a column is missing."""
    if isinstance(error, asyncpg.SyntaxOrAccessError):
        pending = (await scope["state"]["readiness"].check()).pending
        if pending:
            error.add_note(f"pending migrations, apply them first: {', '.join(pending)}")
