"""GET /openapi.json, and the page of the API description."""

from http import HTTPStatus
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from groundwork.core.http.html import page_headers
from groundwork.core.http.operations import operation
from groundwork.core.http.ops_token import require_ops_token
from groundwork.core.http.responses import NO_STORE, Json
from groundwork.core.http.validation import read_path
from groundwork.core.state import State
from groundwork.core.structs import Input
from groundwork.openapi.describe import describe
from groundwork.openapi.services import PARTS, get_page, get_part

_CACHE = {"Cache-Control": "private, no-cache"}


class PartPath(Input):
    """The path of a file of the page."""

    part: Annotated[str, Meta(pattern="|".join(PARTS), extra_json_schema={"enum": [*PARTS]})]


class Revalidation(Struct, rename={"etag": "If-None-Match"}):
    """The headers of a request for a file."""

    etag: Annotated[str | UnsetType, Meta(description="The ETag of a cached response.")] = UNSET


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
    text = get_page(request.state["settings"].app_name)
    return HTMLResponse(text, headers=page_headers(text))


@operation(
    {200: ("text/css", "text/javascript"), 304: None},
    path=PartPath,
    header=Revalidation,
    headers=_CACHE | {"ETag": '"[0-9a-f]{32}"', "Content-Encoding": "(gzip)?"},
    guarded=True,
    database=False,
)
async def part(request: Request[State]) -> Response:
    """Return a file of the page, or 304 if the browser has the current version."""
    require_ops_token(request)
    found = get_part(read_path(request, PartPath).part)
    headers = _CACHE | {"ETag": found.etag}
    if request.headers.get("if-none-match") == found.etag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    if found.is_gzip:  # every browser accepts gzip
        headers["Content-Encoding"] = "gzip"
    return Response(found.body, headers=headers, media_type=found.media_type)


routes = [
    Route("/openapi.json", openapi),
    Route("/docs", docs),
    Route("/docs/{part}", part),
]
