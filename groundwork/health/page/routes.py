"""GET /: the status page."""

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from groundwork.core.http.html import page_headers
from groundwork.core.http.ops_token import is_operator, require_ops_token
from groundwork.core.state import State
from groundwork.health.page.render import render, render_public, template
from groundwork.health.services import get_details


async def status_page(request: Request[State]) -> Response:
    """Show everyone the state of this instance, and operators its details."""
    if "details" in request.query_params:
        require_ops_token(request)  # 401, so that a browser prompts for the token
    state = request.state
    settings, readiness = state["settings"], state["readiness"]
    if is_operator(request):
        details = await get_details(settings, state["pool"], readiness, state["lifecycle"])
        page = render(settings.app_name, details, readiness.history, state["recent"].read())
    else:
        status = (await readiness.check()).status
        page = render_public(settings.app_name, status, has_token=bool(settings.ops_token))
    return HTMLResponse(page, headers=page_headers(template("page.html")))


routes = [Route("/", status_page)]
