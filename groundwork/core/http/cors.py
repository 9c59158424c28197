"""Cross-origin requests: Starlette's rules, with the headers of a response made once."""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp


class CORS(CORSMiddleware):
    """CORS without credentials: an ASGI application for OPTIONS, headers for other responses."""

    def __init__(self, app: ASGIApp, origins: Collection[str], expose: Collection[str]) -> None:
        super().__init__(app, origins, ("*",), ("*",), expose_headers=expose)
        plain = {"vary": "Origin"}
        cross_origin = plain | self.simple_headers
        self._headers: dict[bytes | None, list[tuple[bytes, bytes]]] = {None: Headers(plain).raw}
        for one in origins:
            allowed = {"access-control-allow-origin": one}
            self._headers[one.encode()] = Headers(cross_origin | allowed).raw
        self._others = Headers(cross_origin).raw

    def headers(self, origin: bytes | None) -> list[tuple[bytes, bytes]]:
        """Return the headers of a response to a request with this Origin."""
        return self._headers.get(origin, self._others)
