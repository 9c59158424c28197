"""GET /openapi.json and /docs: the API description and its page, with OPS_TOKEN."""

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from groundwork.core.http.html import page_headers
from groundwork.core.http.ops_token import require_ops_token
from groundwork.core.http.responses import NO_STORE
from groundwork.core.state import State
from groundwork.openapi.services import get_description, get_page, get_part


async def openapi(request: Request[State]) -> Response:
    """Return the OpenAPI document."""
    require_ops_token(request)
    return JSONResponse(get_description(request.state["settings"].app_name), headers=NO_STORE)


async def page(request: Request[State]) -> Response:
    """Return the page that renders the API description."""
    require_ops_token(request)
    text = get_page(request.state["settings"].app_name)
    return HTMLResponse(text, headers=page_headers(text))


async def part(request: Request[State]) -> Response:
    """Return a file of the page, or 304 if the browser has the current version."""
    require_ops_token(request)
    found = get_part(request.path_params["part"])
    if found is None:
        raise HTTPException(404)
    headers = {"Cache-Control": "private, no-cache", "ETag": found.etag}
    if request.headers.get("if-none-match") == found.etag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    if found.is_gzip:  # every browser accepts gzip
        headers["Content-Encoding"] = "gzip"
    return Response(found.body, headers=headers, media_type=found.media_type)


routes = [
    Route("/openapi.json", openapi),
    Route("/docs", page),
    Route("/docs/{part}", part),
]
