"""Probes: endpoints in front of the application, since balancers send them all the time."""

from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from groundwork.core.http.problems import problem
from groundwork.core.state import State


class StaticResponse:
    """A response rendered once and shared between requests."""

    __slots__ = ("body", "start")

    def __init__(self, response: Response) -> None:
        headers = tuple(response.raw_headers)
        self.start: Message = {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": headers,
        }
        self.body: Message = {"type": "http.response.body", "body": response.body}


class Probe:
    """Respond to GET and HEAD; any other method is 405.

    A walk through the application's middleware and router costs as much as the server itself.
    """

    def __init__(self, respond: Callable[[State], Awaitable[StaticResponse]]) -> None:
        self.respond = respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response; the server leaves out the body for HEAD."""
        if scope["method"] not in {"GET", "HEAD"}:
            refusal = problem(scope, 405, "Method Not Allowed", {"Allow": "GET, HEAD"})
            await refusal(scope, receive, send)
            return
        response = await self.respond(scope["state"])
        await send(response.start)
        await send(response.body)
