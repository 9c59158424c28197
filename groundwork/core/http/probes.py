"""Probes: endpoints in front of the application, since balancers send them all the time."""

from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from groundwork.core.http.responses import problem
from groundwork.core.state import State


class Probe:
    """Respond to GET and HEAD; any other method is 405.

    A walk through the application's middleware and router costs as much as the server itself.
    """

    def __init__(self, respond: Callable[[State], Awaitable[Response]]) -> None:
        self.respond = respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response; the server leaves out the body for HEAD."""
        if scope["method"] in {"GET", "HEAD"}:
            response = await self.respond(scope["state"])
        else:
            response = problem(scope, 405, "Method Not Allowed", {"Allow": "GET, HEAD"})
        await response(scope, receive, send)
