"""Answers made once and sent often."""

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class Prepared:
    """A response to share between requests, which Starlette's own is not for.

    The layers around it, CORS for one, write into the headers that they are sent.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(self, response: Response) -> None:
        self.status = response.status_code
        self.headers = tuple(response.raw_headers)
        self.body = {"type": "http.response.body", "body": response.body}

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it, with a list of headers for this request alone."""
        headers = [*self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send(self.body)
