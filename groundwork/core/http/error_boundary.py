"""Unhandled exceptions: one log entry, and 500 or in development a traceback."""

import logging
from html import escape

import asyncpg
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope, Send

from groundwork.core.http.responses import problem

logger = logging.getLogger(__name__)


class ErrorBoundary(ServerErrorMiddleware):
    """Turns unhandled exceptions into 500. Inside CORS, so that a browser may read the response.

    With `debug` a browser gets Starlette's page, and other clients the traceback as text.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; log an unhandled exception once and respond to it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_noting_start(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_noting_start)
        except ClientDisconnect:
            logger.info("client disconnected")
        except Exception as error:
            await _note_pending(scope, error)
            logger.exception("unhandled exception")
            response = problem(scope, 500, "An unexpected error.")
            if self.debug:
                response = self.debug_response(Request(scope), error)
            # An incomplete response makes the server close the connection.
            if not started:
                await response(scope, receive, send)

    def generate_html(self, exc: Exception, limit: int = 7) -> str:
        """Return Starlette's page with the notes of the exception."""
        notes = escape("\n".join(getattr(exc, "__notes__", ())))
        return super().generate_html(exc, limit).replace("</h2>", f"</h2><pre>{notes}</pre>", 1)


async def _note_pending(scope: Scope, error: Exception) -> None:
    """Name the pending migrations where a table or a column is missing."""
    if not isinstance(error, asyncpg.SyntaxOrAccessError):
        return
    if pending := (await scope["state"]["readiness"].check()).pending:
        names = ", ".join(pending)
        error.add_note(f"pending migrations; `groundwork migrate` applies them: {names}")
