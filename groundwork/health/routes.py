"""Results to status codes."""

from functools import lru_cache
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from groundwork.core.http.ops_token import require_ops_token
from groundwork.core.http.responses import NO_STORE, Json
from groundwork.core.http.static_responses import Prepared
from groundwork.core.state import State
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
    state = request.state
    report = await get_details(
        state["settings"], state["pool"], state["readiness"], state["lifecycle"]
    )
    return Json(report, headers=NO_STORE)


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


routes = [
    Route("/health/live", live),
    Route("/health/ready", ready),
    Route("/health/details", details),
    Route("/metrics", metrics),
]

# Answered without the way to their routes where nothing else is to be done.
PROBES = {"/health/live": _live, "/health/ready": _ready}
