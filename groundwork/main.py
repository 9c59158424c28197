"""The application factory: lifespan, middleware, exception handlers, routes."""

import asyncio
import inspect
import math
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import override

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Route, Router, request_response
from starlette.types import ASGIApp, Receive, Scope, Send

from groundwork import __version__
from groundwork.core.config import Settings, settings_or_exit
from groundwork.core.database import Connector, Pool
from groundwork.core.database.queries import Query
from groundwork.core.http.cors import CORS
from groundwork.core.http.error_boundary import ErrorBoundary, call_handler
from groundwork.core.http.middleware import RequestContext
from groundwork.core.http.problems import DATABASE_ERRORS, cancelled, database_error, http_exception
from groundwork.core.http.routing import routers, shape_of
from groundwork.core.lifecycle import Lifecycle, flush_log
from groundwork.core.observability.event_loop import LoopMonitor
from groundwork.core.observability.logging import configure_logging
from groundwork.core.observability.metrics import BUILD
from groundwork.core.observability.recent import Recent
from groundwork.core.observability.tracing import tracing
from groundwork.core.readiness.check import Readiness
from groundwork.core.state import State
from groundwork.core.tasks import background
from groundwork.health import routes as health
from groundwork.health.page import routes as status_page
from groundwork.openapi import routes as openapi

ROUTES = [*health.routes, *status_page.routes, *openapi.routes]

OWN_HEADERS = ("Location", "Retry-After", "X-Request-ID", "Server-Timing")


class _Application(Starlette):
    """Starlette without its exception middleware: ErrorBoundary and _route() replace it."""

    @override
    def build_middleware_stack(self) -> ASGIApp:
        _prepare(self.router)
        self._routers = routers(self.router)
        app: ASGIApp = self._route
        for cls, args, kwargs in reversed(self.user_middleware):
            app = cls(app, *args, **kwargs)
        return app

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["router"] = self.router
        try:
            await self._routers.get(shape_of(scope), self.router)(scope, receive, send)
        except HTTPException as error:  # the router's own: 404 and 405
            if "responding" in scope:
                raise
            response = await http_exception(Request(scope), error)
            await response(scope, receive, send)


def _prepare(router: Router) -> None:
    """Return 404 for a path with an extra slash or line break, and call each handler directly."""
    router.redirect_slashes = False
    for route in router.routes:
        inner = getattr(route, "app", None)
        if isinstance(inner, Router):
            _prepare(inner)
        if isinstance(route, Route):
            # $ is also before a line break at the end.
            route.path_regex = re.compile(re.sub(r"\$$", r"\\Z", route.path_regex.pattern))
            plain = request_response(route.endpoint).__code__  # a middleware may be a function too
            is_plain = getattr(inner, "__code__", None) is plain
            if is_plain and inspect.iscoroutinefunction(route.endpoint):
                route.app = call_handler(route.endpoint)


def create_app(settings: Settings | None = None) -> RequestContext:
    """Return the application; without settings, read the environment or exit with 2."""
    settings = settings or settings_or_exit()
    configure_logging(settings)
    BUILD.info({"version": __version__, "environment": settings.environment})
    Query.slow_seconds = settings.slow_query_seconds or math.inf
    lifecycle = Lifecycle(settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[State]:
        connect, monitor, recent = Connector(settings), LoopMonitor(), Recent()
        pool = Pool(connect.open_checked, settings.db_pool_max_size, settings.db_pool_timeout)
        readiness = Readiness(settings, pool, connect, monitor)
        signals = lifecycle.handle_signals(on_drain=readiness.drain)
        # A second Ctrl-C cancels the lifespan, which ends as usual then.
        with signals, suppress(asyncio.CancelledError):
            async with background(readiness.keep_checking(), recent.record(), monitor.run()):
                yield State(
                    settings=settings,
                    pool=pool,
                    readiness=readiness,
                    lifecycle=lifecycle,
                    recent=recent,
                )
        readiness.close()
        await pool.close()
        flush_log()

    origins = settings.cors_allow_origins or (("*",) if settings.debug else ())
    app = _Application(
        lifespan=lifespan,
        middleware=[*tracing(), Middleware(ErrorBoundary, debug=settings.debug)],
        exception_handlers={HTTPException: http_exception, asyncio.CancelledError: cancelled}
        | dict.fromkeys(DATABASE_ERRORS, database_error),
        routes=ROUTES,
    )
    return RequestContext(
        app,
        CORS(app, origins, OWN_HEADERS),
        lifecycle,
        probes={one.path: call_handler(one.endpoint) for one in health.probes},
        quiet=("/",),  # the status page refreshes by itself
        server_timing=settings.environment == "development",
    )
