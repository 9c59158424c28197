"""GET /: the status page."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from groundwork.core.http.html import PAGE_HEADERS, page_headers
from groundwork.core.http.operations import operation
from groundwork.core.http.ops_token import is_operator, require_ops_token
from groundwork.core.state import State
from groundwork.health.page.render import render, render_public, template
from groundwork.health.services import get_details


class PageQuery(Struct):
    """The query of the page; other parameters are ignored."""

    details: Annotated[
        str | UnsetType, Meta(description="Respond with 401 or 404 if the details are not shown.")
    ] = UNSET


@operation(
    {200: "text/html"}, query=PageQuery, headers=PAGE_HEADERS, errors=(401, 404), database=False
)
async def status_page(request: Request[State]) -> Response:
    """Return the status page, 200 in every state.

    It shows the details in development and with `OPS_TOKEN`; otherwise the status alone.
    """
    if "details" in request.query_params:
        require_ops_token(request)  # 401, so that a browser prompts for the token
    state = request.state
    settings, readiness = state["settings"], state["readiness"]
    if is_operator(request):
        details = await get_details(state)
        page = render(settings.app_name, details, readiness.history.results, state["recent"].read())
    else:
        status = (await readiness.check()).status
        page = render_public(settings.app_name, status, has_token=bool(settings.ops_token))
    return HTMLResponse(page, headers=page_headers(template("page.html")))


routes = [Route("/", status_page)]
