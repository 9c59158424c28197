"""Exceptions to responses: by their handlers, else 500 and in development a traceback."""

import logging
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from html import escape
from inspect import isawaitable
from typing import cast

import asyncpg
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from groundwork.core.database.waiters import client_disconnect
from groundwork.core.http.receiving import Client
from groundwork.core.http.responses import problem

logger = logging.getLogger(__name__)

_CAUGHT = (Exception, CancelledError, SystemExit)  # the last by a library that is a program too


class ErrorBoundary(ServerErrorMiddleware):
    """Turns exceptions of a middleware, and what is unhandled in a route, into responses.

    Inside RequestContext, whose headers let a browser read an error. With `debug` an unhandled
    exception gives a browser Starlette's page, and other clients the traceback as text.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; respond to an exception, and log it once if it is unhandled."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # With these a route responds to its exceptions by itself.
        scope["starlette.exception_handlers"] = scope["app"].exception_handlers, {}
        client = Client(scope, receive, send)
        token = client_disconnect.set(client.wait_for_disconnect)
        try:
            await self.app(scope, client.receive, client.send)
        except _CAUGHT as error:  # handled, or logged
            response = await self._respond(Request(scope), error, started=client.started)
            # An incomplete response makes the server close the connection.
            if response and not client.started:
                await response(scope, receive, send)
        finally:
            client_disconnect.reset(token)

    async def _respond(
        self, request: Request, error: BaseException, *, started: bool
    ) -> Response | None:
        try:
            return await _handle(request, error, started=started)
        except ClientDisconnect:
            logger.info("client disconnected")
            return None
        except _CAUGHT as unhandled:
            await _note_pending(request.scope, unhandled)
            logger.exception("unhandled exception")
            if self.debug:
                return self.debug_response(request, cast("Exception", unhandled))
            return problem(request.scope, 500, "An unexpected error.")

    def debug_response(self, request: Request, exc: Exception) -> Response:
        """Return Starlette's page with the notes of the exception, or the traceback as text."""
        text, kind = self.generate_plain_text(exc), "text/plain"
        if "text/html" in request.headers.get("accept", ""):
            notes = escape("\n".join(getattr(exc, "__notes__", ())))
            text = self.generate_html(exc).replace("</h2>", f"</h2><pre>{notes}</pre>", 1)
            kind = "text/html"
        # An exception may quote surrogates.
        return Response(text.encode(errors="backslashreplace"), 500, media_type=kind)


def call_handler(handler: Callable[[Request], Awaitable[Response]]) -> ASGIApp:
    """Return a handler as a route calls it; Starlette's way takes 3 % of a small request."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            response = await handler(request)
        except Exception as error:  # noqa: BLE001 - raised again where it is unhandled
            response = await _handle(request, error, started=False)
        scope["responding"] = True  # an exception from here on is not of the router
        await response(scope, receive, send)

    return app


async def _handle(request: Request, error: BaseException, *, started: bool) -> Response:
    """Return what the application's handler returns; raise the error where there is none.

    Once the response has started, Starlette makes a RuntimeError of what has a handler, which can
    log the error, if it does not stand for a response.
    """
    if started and isinstance(error, RuntimeError):
        error = error.__cause__ or error
    if not (started and isinstance(error, HTTPException)):
        for kind in type(error).__mro__:
            if handler := request.app.exception_handlers.get(kind):
                given = handler(request, error)
                response: Response = await given if isawaitable(given) else given
                error.__traceback__ = None  # each raise of an error that is kept would add to it
                return response
    raise error


async def _note_pending(scope: Scope, error: BaseException) -> None:
    """Name the pending migrations where a table or a column is missing."""
    if not isinstance(error, asyncpg.SyntaxOrAccessError):
        return
    if pending := (await scope["state"]["readiness"].check()).pending:
        names = ", ".join(pending)
        error.add_note(f"pending migrations; `groundwork migrate` applies them: {names}")
