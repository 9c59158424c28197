"""GET /openapi.json, and the page of the API description."""

from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from groundwork.core.http.html import PAGE_HEADERS, page_headers
from groundwork.core.http.operations import operation
from groundwork.core.http.ops_token import require_ops_token
from groundwork.core.http.responses import NO_STORE, Json
from groundwork.core.state import State
from groundwork.openapi.describe import describe
from groundwork.openapi.page import render


@operation({200: dict[str, Any]}, headers=NO_STORE, guarded=True, database=False)
async def openapi(request: Request[State]) -> Response:
    """Return the API description, an OpenAPI 3.1 document."""
    require_ops_token(request)
    return Json(_document(request), headers=NO_STORE)


@operation({200: "text/html"}, headers=PAGE_HEADERS, guarded=True, database=False)
async def docs(request: Request[State]) -> Response:
    """Return the page of the API description."""
    require_ops_token(request)
    page = render(_document(request))
    return HTMLResponse(page, headers=page_headers(page))


def _document(request: Request[State]) -> dict[str, Any]:
    return describe(request.state["settings"].app_name, request.app.routes)


routes = [Route("/openapi.json", openapi), Route("/docs", docs)]
