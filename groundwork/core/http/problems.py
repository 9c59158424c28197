"""Errors that become problem details: 404, 409, invalid requests, 503."""

import logging
from http import HTTPStatus

import asyncpg
from msgspec import UNSET
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from groundwork.core.database.errors import UnavailableError, describe, is_drivers, reason_of
from groundwork.core.http.responses import MAX_ERRORS, InvalidPart, problem
from groundwork.core.http.routing import methods_of

logger = logging.getLogger(__name__)

DATABASE_ERRORS = (UnavailableError, asyncpg.PostgresError, ExceptionGroup)
_PLAN_ERRORS = (
    asyncpg.InvalidCachedStatementError,
    asyncpg.OutdatedSchemaCacheError,
    asyncpg.DataError,
    asyncpg.InternalServerError,  # "cache lookup failed for type 17216", which was created again
    asyncpg.UndefinedColumnError,
)
_DETAILS = {
    "pool_saturated": "The service is overloaded.",
    "database_read_only": "The database is read-only.",
    "migrations_changed": "The database was just migrated.",
}


class Invalid(HTTPException):
    """The request is invalid, with every error."""

    def __init__(self, status: int, detail: str, errors: list[InvalidPart]) -> None:
        super().__init__(status, detail)
        self.errors = errors[:MAX_ERRORS]


class conflict:  # noqa: N801 - called as a function is
    """Turn the violation of a constraint of this name into 409 with its detail.

    For what a request cannot know: a value is taken, a row that it refers to is gone.
    """

    def __init__(self, **details: str) -> None:
        self._details = details

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, asyncpg.IntegrityConstraintViolationError):
            detail = self._details.get(error.constraint_name or "")
            if detail is not None:
                raise HTTPException(409, detail) from None


def found[T](row: T | None) -> T:
    """Return the row, or raise 404 if there is none."""
    if row is None:
        raise HTTPException(404)
    return row


async def http_exception(request: Request, error: Exception) -> Response:
    """Return the response for what a route or the router raised: 404, 405 with Allow and so on."""
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette calls it for no other
    headers = error.headers
    if error.status_code in {204, 304}:  # have no body
        return Response(status_code=error.status_code, headers=headers)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (allowed := _allowed(request)):
        headers = {"Allow": allowed}  # else it comes from an endpoint that has no methods
    errors = getattr(error, "errors", None) or UNSET  # none where the request has too many items
    return problem(request.scope, error.status_code, error.detail, headers, errors)


async def database_error(request: Request, error: Exception) -> Response:
    """Return 503 when the database cannot serve now; the client may retry.

    Raises:
        ClientDisconnect: what waited for a connection has lost its client.
        Exception: the error itself, where it is in the statement or the code.
    """
    decisive = _decisive(error)
    if isinstance(decisive, ClientDisconnect):
        raise decisive
    if isinstance(decisive, HTTPException):
        return await http_exception(request, decisive)
    reason: str | None = _reason(decisive)
    if reason is None:
        # What was prepared before a migration may not fit the tables any more.
        is_of_plan = isinstance(decisive, _PLAN_ERRORS)
        if not is_of_plan or not await request.state["readiness"].sessions_were_renewed():
            raise error
        reason = "migrations_changed"
    fields = {"reason": reason, "cause": describe(decisive.__cause__ or decisive)}
    logger.warning("request failed, database unavailable", extra=fields)
    detail = _DETAILS.get(reason, "The database is unavailable.")
    return problem(request.scope, 503, f"{detail} Retry later.", {"Retry-After": "1"})


async def cancelled(request: Request, error: BaseException) -> Response:
    """Return 503 for what the server cancels because its grace period is over.

    Raises:
        BaseException: the error itself, where the code has awaited what was cancelled.
    """
    if not request.state["lifecycle"].draining:
        raise error
    logger.warning("request cancelled by the shutdown")
    detail = "The service is shutting down. Retry later."
    return problem(request.scope, 503, detail, {"Retry-After": "1"})


def _decisive(error: Exception) -> Exception:
    """Return the exception in a TaskGroup's that says what went wrong: first a bug, then 404."""
    if not isinstance(error, ExceptionGroup):
        return error
    found = map(_decisive, error.exceptions)
    return min(found, key=lambda one: 2 if _reason(one) else isinstance(one, HTTPException))


def _reason(error: Exception) -> str | None:
    is_databases = isinstance(error, DATABASE_ERRORS) or is_drivers(error)
    return reason_of(error) if is_databases else None  # a feature's own TimeoutError is a bug


def _allowed(request: Request) -> str:
    """Return the methods of the path: Starlette knows only its first route (RFC 9110, 15.5.6)."""
    scope = request.scope
    root = scope.get("app_root_path", scope.get("root_path", ""))  # a Mount has added to it
    return ", ".join(sorted({*methods_of(request.app.routes, {**scope, "root_path": root})}))
