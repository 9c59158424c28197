"""GET /: the status page."""

from datetime import datetime

from msgspec import to_builtins
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from groundwork.core.http.html import page_headers, source
from groundwork.core.http.ops_token import is_operator, require_ops_token
from groundwork.core.state import State
from groundwork.health.page import render as page
from groundwork.health.services import get_details


async def status_page(request: Request[State]) -> Response:
    """Show everybody the state of this instance, and operators its details."""
    if "figures" in request.query_params:
        require_ops_token(request)  # so that a browser asks for it
    state = request.state
    settings, readiness = state["settings"], state["readiness"]
    if is_operator(request):
        details = await get_details(settings, state["pool"], readiness, state["lifecycle"])
        report = to_builtins(details, builtin_types=(datetime,))
        text = page.render(settings.app_name, report, readiness.history)
    else:
        status = (await readiness.check()).status
        text = page.render_state(settings.app_name, status, guarded=bool(settings.ops_token))
    style, script = (source(page.template(), tag) for tag in ("style", "script"))
    return HTMLResponse(text, headers=page_headers(style, script))


routes = [Route("/", status_page)]
