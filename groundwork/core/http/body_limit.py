"""The limit on the size of request bodies."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groundwork.core.http.responses import problem

MAX_BODY_BYTES = 1024 * 1024
_TOO_LARGE = "The request body is larger than 1 MiB."
_CLOSE = {"Connection": "close"}  # the rest of the body is not read


class BodyLimit:
    """Rejects bodies over MAX_BODY_BYTES: by Content-Length at once, else while they arrive."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or respond with 413 and close the connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        # Cut, as int() raises on thousands of digits, even zeros.
        if length.isdecimal() and int(length.lstrip("0")[:20] or 0) > MAX_BODY_BYTES:
            await problem(scope, 413, _TOO_LARGE, _CLOSE)(scope, receive, send)
            return
        received = 0

        async def receive_counting() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise HTTPException(413, _TOO_LARGE, _CLOSE)
            return message

        await self.app(scope, receive_counting, send)
