"""Results to status codes."""

from functools import lru_cache
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from groundwork.core.http.html import page_headers, source
from groundwork.core.http.ops_token import is_operator, require_ops_token
from groundwork.core.http.responses import NO_STORE, Json
from groundwork.core.http.static_responses import Prepared
from groundwork.core.state import State
from groundwork.health.page import render as page
from groundwork.health.services import get_details, loop_lag

# The page asks again by itself, so its lines would be as many as the probes'.
QUIET = ("/", "/health/live", "/health/ready")
LIVE = Prepared(JSONResponse({"status": "ok"}, headers=NO_STORE))


async def live(_: Request[State]) -> Prepared:
    """Answer that the process runs: no I/O, no lock, no await on anything shared."""
    return LIVE


async def ready(request: Request[State]) -> Prepared:
    """Answer whether to send requests here; a degraded instance still takes them."""
    return await _ready(request.state)


async def details(request: Request[State]) -> Response:
    """Report on this instance to those with OPS_TOKEN; 200 also when it is unavailable."""
    require_ops_token(request)
    return Json(await _report(request), headers=NO_STORE)


async def status_page(request: Request[State]) -> Response:
    """Show people how this instance does: to everybody its state, with OPS_TOKEN its figures."""
    if "figures" in request.query_params:
        require_ops_token(request)  # so that a browser asks for it
    settings, readiness = request.state["settings"], request.state["readiness"]
    if is_operator(request):
        text = page.render(settings.app_name, await _report(request), readiness.history)
    else:
        status = (await readiness.check()).status
        text = page.render_state(settings.app_name, status, guarded=bool(settings.ops_token))
    style, script = (source(page.template(), tag) for tag in ("style", "script"))
    return HTMLResponse(text, headers=page_headers(style, script))


async def metrics(request: Request[State]) -> Response:
    """Give Prometheus its figures; a scrape is a question to the database like any other."""
    from groundwork.health.exposition import expose

    require_ops_token(request)
    await request.state["readiness"].check()
    text = expose(request.state, await loop_lag())
    return Response(text, headers=NO_STORE, media_type="text/plain; version=0.0.4")


async def _live(_: State) -> Prepared:
    return LIVE


async def _ready(state: State) -> Prepared:
    result = await state["readiness"].check()
    return _prepare_ready(result.status, result.reason, result.pending)


@lru_cache
def _prepare_ready(status: str, reason: str | None, pending: tuple[str, ...]) -> Prepared:
    body: dict[str, Any] = {"status": status}
    if reason:
        body["reason"] = reason
    if reason == "migrations_pending":
        body["pending"] = pending
    ok = status != "unavailable"
    code = HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE
    return Prepared(JSONResponse(body, code, NO_STORE))


async def _report(request: Request[State]) -> dict[str, Any]:
    state = request.state
    return await get_details(
        state["settings"], state["pool"], state["readiness"], state["lifecycle"]
    )


routes = [
    Route("/", status_page),
    Route("/health/live", live),
    Route("/health/ready", ready),
    Route("/health/details", details),
    Route("/metrics", metrics),
]

# Answered without the way to their routes where nothing else is to be done.
PROBES = {"/health/live": _live, "/health/ready": _ready}
