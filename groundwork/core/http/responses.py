"""Responses: JSON, encoded by msgspec (docs/development.md), and RFC 9457 problem details."""

from collections.abc import Iterable, Mapping
from http.client import responses
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.responses import Response
from starlette.types import Scope

from groundwork.core.observability.logging import request_id

NO_STORE = {"Cache-Control": "no-store"}
MAX_ERRORS = 100  # or a response might be many times its request

URI = {"format": "uri-reference"}
_encode = msgspec.json.Encoder().encode


class Json(Response):
    """What msgspec can encode, as JSON; else a TypeError that names the type, never the value."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the JSON."""
        return _encode(content)


class InvalidPart(Struct):
    """One error in a request: in its body or in its query."""

    detail: str
    pointer: Annotated[str | UnsetType, Meta(description="Where in the body (RFC 6901).")] = UNSET
    parameter: Annotated[str | UnsetType, Meta(description="The query parameter.")] = UNSET


class Problem(Struct):
    """Problem details (RFC 9457)."""

    type: Literal["about:blank"]
    title: Annotated[str, Meta(description="The status in words.")]
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str
    instance: Annotated[str, Meta(description="The path.", extra_json_schema=URI)]
    request_id: Annotated[str, Meta(description="As in X-Request-ID.")]
    errors: Annotated[list[InvalidPart], Meta(min_length=1, max_length=MAX_ERRORS)] | UnsetType = (
        UNSET
    )


def problem(
    scope: Scope,
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    errors: list[InvalidPart] | UnsetType = UNSET,
) -> Response:
    """Return an application/problem+json response."""
    title, current = responses.get(status, ""), request_id.get() or ""
    instance = "/" + quote(scope["path"].lstrip("/"))
    body = Problem("about:blank", title, status, detail, instance, current, errors)
    return Json(body, status, headers, "application/problem+json")


def json_pointer(path: Iterable[Any]) -> str:
    """Return the JSON Pointer of names and indexes as a URI fragment (RFC 6901, section 6)."""
    tokens = (str(one).replace("~", "~0").replace("/", "~1") for one in path)
    return "#" + quote("".join(f"/{one}" for one in tokens), errors="replace")
