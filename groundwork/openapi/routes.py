"""GET /openapi.json, and the page of the API description with the files that it loads."""

import hashlib
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from groundwork.core.http.html import fill, page_headers
from groundwork.core.http.operations import operation
from groundwork.core.http.ops_token import require_ops_token
from groundwork.core.http.responses import NO_STORE, Json
from groundwork.core.http.validation import read_path
from groundwork.core.state import State
from groundwork.core.structs import Input
from groundwork.openapi.describe import describe

_FOLDER = Path(__file__).parent
_CACHE = {"Cache-Control": "private, no-cache"}
# The files that the page loads. Vendored ones are kept as gzip, at a quarter of their size.
_PARTS = {
    "page.js": "page.js",
    "swagger-ui-bundle.js": "swagger-ui/swagger-ui-bundle.js.gz",
    "swagger-ui.css": "swagger-ui/swagger-ui.css.gz",
}


class PartPath(Input):
    """The path of a file of the page."""

    part: Annotated[str, Meta(pattern="|".join(_PARTS), extra_json_schema={"enum": [*_PARTS]})]


@operation({200: dict[str, Any]}, headers=NO_STORE, guarded=True, database=False)
async def openapi(request: Request[State]) -> Response:
    """Return the API description, an OpenAPI 3.1 document."""
    require_ops_token(request)
    app = request.app
    name = request.state["settings"].app_name
    return Json(describe(name, app.routes, app.state.probes), headers=NO_STORE)


@operation(
    {200: "text/html"},
    headers=NO_STORE | {"Content-Security-Policy": ".+"},
    guarded=True,
    database=False,
)
async def docs(request: Request[State]) -> Response:
    """Return the page of the API description."""
    require_ops_token(request)
    template = (_FOLDER / "page.html").read_text("utf-8")
    page = fill(template, app_name=request.state["settings"].app_name)
    return HTMLResponse(page, headers=page_headers(page))


@operation(
    {200: ("text/css", "text/javascript"), 304: None},
    path=PartPath,
    headers=_CACHE | {"ETag": '"[0-9a-f]{32}"', "Content-Encoding": "(gzip)?"},
    guarded=True,
    database=False,
)
async def part(request: Request[State]) -> Response:
    """Return a file of the page, or 304 if the browser has the current version."""
    require_ops_token(request)
    body, etag, headers = _part(read_path(request, PartPath).part)
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=_CACHE | {"ETag": etag})
    return Response(body, headers=headers)


@cache
def _part(name: str) -> tuple[bytes, str, dict[str, str]]:
    """Return the body of a file, its ETag, and its headers."""
    body = (_FOLDER / _PARTS[name]).read_bytes()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    media_type = "text/css" if name.endswith(".css") else "text/javascript"
    headers = _CACHE | {"ETag": etag, "Content-Type": f"{media_type}; charset=utf-8"}
    if _PARTS[name].endswith(".gz"):  # every browser accepts gzip
        headers["Content-Encoding"] = "gzip"
    return body, etag, headers


routes = [
    Route("/openapi.json", openapi),
    Route("/docs", docs),
    Route("/docs/{part}", part),
]
