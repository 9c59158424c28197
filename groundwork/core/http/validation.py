"""What a request brings: a JSON body, the query's parameters. Every fault is named at once."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from marshmallow import Schema, ValidationError, fields, validate
from starlette.exceptions import HTTPException
from starlette.requests import Request

from groundwork.core.http.problems import Invalid

# PostgreSQL's text has no place for them, and JSON may bring both: "\u0000", "\ud800".
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def text(longest: int, *, blank: bool = False, **options: Any) -> fields.String:
    """Return a schema's field of text that PostgreSQL can hold, up to so many characters.

    The options are marshmallow's: `required=True`, or `load_default` with what is meant by none.
    """
    rules: list[Callable[[str], object]] = [_storable, validate.Length(max=longest)]
    return fields.String(validate=rules if blank else [_not_blank, *rules], **options)


async def read_json(request: Request[Any], schema: Schema) -> dict[str, Any]:
    """Return the body as the schema loads it.

    Raises:
        HTTPException: 415 where it is of another type, 400 where it is not JSON.
        Invalid: 422, with what the schema refuses.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0]
    if media_type.strip().lower() != "application/json":
        raise HTTPException(415, "The body must be application/json.")
    body = await request.body()
    try:
        given = json.loads(body.decode(), parse_constant=int)  # which refuses NaN and Infinity
    except (ValueError, RecursionError):
        raise HTTPException(400, "The body is not JSON.") from None
    try:
        return _load(schema, given)
    except ValidationError as error:
        faults = _faults(error.messages_dict, "#")
        errors = ({"pointer": pointer, "detail": fault} for pointer, fault in faults)
        raise Invalid(422, "The body has faults.", errors) from None


def read_query(request: Request[Any], schema: Schema) -> dict[str, Any]:
    """Return the query's parameters as the schema loads them.

    Raises:
        Invalid: 400, with what the schema refuses.
    """
    try:
        return _load(schema, dict(request.query_params))
    except ValidationError as error:
        faults = error.messages_dict.items()
        errors = ({"parameter": name, "detail": " ".join(told)} for name, told in faults)
        raise Invalid(400, "The query has faults.", errors) from None


def _load(schema: Schema, given: Any) -> dict[str, Any]:
    loaded: dict[str, Any] = schema.load(given)
    return loaded


def _faults(messages: Any, pointer: str) -> Iterator[tuple[str, str]]:
    """Give each fault with its place, a JSON Pointer as a URI fragment (RFC 6901, 6)."""
    if not isinstance(messages, dict):
        yield from ((pointer, fault) for fault in messages)
        return
    for name, inner in messages.items():
        token = quote(str(name).replace("~", "~0").replace("/", "~1"), errors="replace")
        yield from _faults(inner, pointer if name == "_schema" else f"{pointer}/{token}")


def _not_blank(value: str) -> None:
    if not value.strip():
        fault = "Blank."
        raise ValidationError(fault)


def _storable(value: str) -> None:
    if _UNSTORABLE.search(value):
        fault = "Has a character that can't be stored."
        raise ValidationError(fault)
