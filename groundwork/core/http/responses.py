"""Answers: JSON of what PostgreSQL gives, and the header of what nobody may keep."""

import json
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from starlette.responses import JSONResponse

NO_STORE = {"Cache-Control": "no-store"}


class Json(JSONResponse):
    """JSON that takes the values of a row as they are."""

    def render(self, content: Any) -> bytes:
        """Return it in as few bytes as it takes."""
        return json.dumps(
            content, default=as_json, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        ).encode()


def as_json(value: object) -> str:
    """Return a date or time as RFC 3339 writes it, a UUID and a numeric in their digits.

    Raises:
        TypeError: for anything else; its text might be what nobody should see.
    """
    match value:
        case date():
            return value.isoformat()
        case UUID() | Decimal():
            return str(value)
    message = f"{type(value).__name__} has no form in JSON"
    raise TypeError(message)
