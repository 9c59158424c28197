"""Exceptions to responses: by their handlers, else 500 and in development a traceback."""

import logging
from asyncio import CancelledError
from html import escape
from typing import Any, cast

import asyncpg
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from groundwork.core.http.responses import problem

logger = logging.getLogger(__name__)


class ErrorBoundary(ServerErrorMiddleware):
    """Turns exceptions of a middleware, and what is unhandled in a route, into responses.

    Inside CORS, so that a browser may read an error. With `debug` an unhandled exception gives a
    browser Starlette's page, and other clients the traceback as text.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; respond to an exception, and log it once if it is unhandled."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # With these a route responds to its exceptions by itself.
        scope["starlette.exception_handlers"] = scope["app"].exception_handlers, {}
        started = False

        async def send_noting_start(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_noting_start)
        except ClientDisconnect:
            logger.info("client disconnected")
        except (Exception, CancelledError) as error:  # noqa: BLE001 - handled, or logged
            try:
                response = await _handle(Request(scope), error, started=started)
            except (Exception, CancelledError) as unhandled:
                await _note_pending(scope, unhandled)
                logger.exception("unhandled exception")
                response = problem(scope, 500, "An unexpected error.")
                if self.debug:
                    response = self.debug_response(Request(scope), cast("Exception", unhandled))
            # An incomplete response makes the server close the connection.
            if not started:
                await response(scope, receive, send)

    def generate_html(self, exc: Exception, limit: int = 7) -> str:
        """Return Starlette's page with the notes of the exception."""
        notes = escape("\n".join(getattr(exc, "__notes__", ())))
        return super().generate_html(exc, limit).replace("</h2>", f"</h2><pre>{notes}</pre>", 1)


async def _handle(request: Request, error: BaseException, *, started: bool) -> Response:
    """Return what the application's handler returns; raise the error where there is none."""
    is_late = started and not isinstance(error, CancelledError)
    handlers: dict[Any, Any] = {} if is_late else request.app.exception_handlers
    for kind in type(error).__mro__:
        if kind in handlers:
            response: Response = await handlers[kind](request, error)
            return response
    raise error


async def _note_pending(scope: Scope, error: BaseException) -> None:
    """Name the pending migrations where a table or a column is missing."""
    if not isinstance(error, asyncpg.SyntaxOrAccessError):
        return
    if pending := (await scope["state"]["readiness"].check()).pending:
        names = ", ".join(pending)
        error.add_note(f"pending migrations; `groundwork migrate` applies them: {names}")
