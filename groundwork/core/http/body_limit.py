"""No body over a limit reaches a route."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groundwork.core.http.problems import problem

MAX_BODY_BYTES = 1024 * 1024

_TOO_LARGE = "The body is over 1 MiB."


class BodyLimit:
    """Refuses bodies over MAX_BODY_BYTES: by Content-Length at once, else while they come in."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 413 and close: the rest of the body is not wanted."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        # Cut, as int() raises on thousands of digits, be they zeros.
        if length.isdecimal() and int(length.lstrip("0")[:20] or 0) > MAX_BODY_BYTES:
            refusal = problem(scope, 413, _TOO_LARGE, {"Connection": "close"})
            await refusal(scope, receive, send)
            return
        received = 0

        async def receive_counting() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise HTTPException(413, _TOO_LARGE, {"Connection": "close"})
            return message

        await self.app(scope, receive_counting, send)
