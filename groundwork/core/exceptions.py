"""Errors as RFC 9457 problem details."""

import traceback
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Scope

from groundwork.core.logging import request_id


def problem(
    scope: Scope, status: int, detail: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return an application/problem+json response (RFC 9457) for this request."""
    return JSONResponse(
        {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail,
            "instance": quote(scope["path"]),
            "request_id": request_id.get(),
        },
        status,
        headers,
        "application/problem+json",
    )


async def http_exception(request: Request, error: Exception) -> JSONResponse:
    """Answer what a route or the router raised: 404, 405 with Allow, and the like."""
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette calls it for no other
    return problem(request.scope, error.status_code, error.detail, error.headers)


def server_error(scope: Scope, error: Exception, *, debug: bool) -> JSONResponse:
    """Answer an exception nobody caught; only DEBUG shows what it was."""
    detail = "".join(traceback.format_exception(error)) if debug else "An unexpected error."
    return problem(scope, HTTPStatus.INTERNAL_SERVER_ERROR, detail)
