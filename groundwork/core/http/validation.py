"""Requests to Structs: JSON body, query and path parameters, with every error at once."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache, partial
from typing import Any, get_args, get_origin
from urllib.parse import quote

import msgspec
from msgspec import UNSET
from msgspec.structs import astuple
from starlette.exceptions import HTTPException
from starlette.requests import Request

from groundwork.core.http.problems import Invalid
from groundwork.core.http.responses import InvalidPart
from groundwork.core.structs import NOT_BLANK, Input, bare_type, form_of

# PostgreSQL's text and jsonb can hold neither; JSON may bring both: "\u0000", "\ud800".
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_ESCAPED_NUL = re.compile(rb"(?<!\\)(\\\\)*\\u0000")
_CHARACTER = "Contains a character that cannot be stored."
_DETAILS = {f"Expected `str` matching regex {NOT_BLANK!r}": "Must not be blank."}
_MAX_ITEMS = 1000  # checked one by one in an invalid body: it blocks the event loop
_MAX_PATH = 1000  # characters from which to go on: each error within repeats them

_ARRAYS = {list, set, frozenset}

decoder = cache(msgspec.json.Decoder)  # one for each type
convert = partial(msgspec.convert, strict=False)  # of parameters, which are strings

type _Path = tuple[Any, ...]  # names and indexes
type _Errors = list[tuple[_Path, str]]  # with the detail


async def read_json[T: Input](request: Request[Any], kind: type[T]) -> T:
    """Return the JSON body, or raise 415, 400 if it is not JSON, 422 with every error."""
    headers = dict(request.scope["headers"])
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
        raise HTTPException(415, "The request body must be application/json.")
    body = await request.body()
    failure = _CHARACTER
    try:
        if rb"\u0000" not in body or not _ESCAPED_NUL.search(body):
            given: T = decoder(kind).decode(body)
            return given
    except (ValueError, RecursionError) as error:
        failure = str(error)
    try:
        given = json.loads(body.decode(), parse_constant=int)  # int() rejects NaN and Infinity
        errors = _errors(given, kind, (), iter(range(_MAX_ITEMS)), strict=True) or [((), failure)]
    except (ValueError, RecursionError):
        raise HTTPException(400, "The request body is not JSON.") from None
    parts = [InvalidPart(detail, pointer=_pointer(path)) for path, detail in errors]
    raise Invalid(422, "The request body is invalid.", parts)


def read_query[T: Input](request: Request[Any], kind: type[T]) -> T:
    """Return the query parameters, the last of those that repeat but for lists; or raise 400."""
    given = dict[str, Any]()
    if raw := request.scope["query_string"]:
        query = request.query_params
        lists = {name: query.getlist(name) for name in _list_fields(kind) if name in query}
        given = dict(query) | lists
    with suppress(ValueError):  # each error is named below
        if b"%00" not in raw:
            found: T = convert(given, kind)
            return found
    errors = _errors(given, kind, (), iter(range(_MAX_ITEMS)), strict=False)
    parts = [InvalidPart(detail, parameter=path[0] if path else UNSET) for path, detail in errors]
    raise Invalid(400, "The query is invalid.", parts)


def read_path[T: Input](request: Request[Any], kind: type[T]) -> T:
    """Return the path parameters, or raise 404 if one is invalid, such as an id beyond bigint."""
    texts = request.path_params
    if "\0" in request.scope["path"]:
        raise HTTPException(404)
    try:
        given: T = convert(texts, kind)
    except ValueError:
        raise HTTPException(404) from None
    for name, value in zip(kind.__struct_encode_fields__, astuple(given), strict=True):
        # One resource, one path: msgspec reads 1.0 and 1e1 as numbers too. {id:int} is no text.
        if type(value) is int and str(texts.get(name)) != str(value):
            raise HTTPException(404)
    return given


@cache
def _list_fields(kind: type[Input]) -> list[str]:
    fields = msgspec.structs.fields(kind)
    return [one.encode_name for one in fields if get_origin(bare_type(one.type)) in _ARRAYS]


def _errors(value: Any, kind: Any, path: _Path, left: Iterator[int], *, strict: bool) -> _Errors:
    """Return the errors in at most `left` items of a value, else the one that msgspec names."""
    found: _Errors = []
    items = _items(value, form_of(value, kind)) if len(str(path)) <= _MAX_PATH else ()
    for (name, item, item_kind), _ in zip(items, left, strict=False):
        if isinstance(item_kind, str):
            found.append(((*path, name), item_kind))
        else:
            found += _errors(item, item_kind, (*path, name), left, strict=strict)
    if isinstance(value, str) and _UNSTORABLE.search(value):
        found.append((path, _CHARACTER))
    try:
        if not found:
            msgspec.convert(value, kind, strict=strict)
    except ValueError as error:
        detail = str(error).partition(" - at `")[0]
        found.append((path, _DETAILS.get(detail, detail)))
    return found


def _items(value: Any, kind: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield name, value and type of each item of an object or array; for an error, its detail."""
    if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields, config = msgspec.structs.fields(kind), kind.__struct_config__
        unknown = "Unknown field." if config.forbid_unknown_fields else Any
        kinds = {config.tag_field: Any} | {field.encode_name: field.type for field in fields}
        for name, item in value.items():
            yield name, item, kinds.get(name, unknown)
        for field in fields:
            if field.required and field.encode_name not in value:
                yield field.encode_name, None, "Missing required field."
    elif isinstance(value, dict | list):
        origins = _ARRAYS if isinstance(value, list) else {dict}
        item_kind = get_args(kind)[-1] if get_origin(kind) in origins else Any
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield name, item, _CHARACTER if _UNSTORABLE.search(str(name)) else item_kind


def _pointer(path: _Path) -> str:
    """Return the JSON Pointer as a URI fragment (RFC 6901, section 6)."""
    tokens = (str(one).replace("~", "~0").replace("/", "~1") for one in path)
    return "#" + quote("".join(f"/{one}" for one in tokens), errors="replace")
