"""JSON responses, encoded by msgspec: docs/development.md lists the form of each type."""

from typing import Any

import msgspec
from starlette.responses import Response

NO_STORE = {"Cache-Control": "no-store"}

_encode = msgspec.json.Encoder().encode


class Json(Response):
    """A Struct, or anything that msgspec can encode, as JSON.

    Raises:
        TypeError: a value has no form in JSON; the message names its type, never the value.
    """

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the JSON."""
        return _encode(content)
