"""Requests to Structs: JSON body, query and path parameters, with every error at once."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any, get_args, get_origin

import msgspec
from msgspec import UNSET
from starlette.exceptions import HTTPException
from starlette.requests import Request

from groundwork.core.http.problems import Invalid
from groundwork.core.http.responses import InvalidPart, json_pointer
from groundwork.core.structs import NOT_BLANK, Input, bare_type, form_of

# PostgreSQL's text and jsonb can hold neither; JSON may bring both: "\u0000", "\ud800".
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_ESCAPED_NUL = re.compile(rb"(?<!\\)(\\\\)*\\u0000")
_CHARACTER = "Contains a character that cannot be stored."
_DETAILS = {f"Expected `str` matching regex {NOT_BLANK!r}": "Must not be blank."}
_MAX_ITEMS = 1000  # checked one by one in an invalid body: it blocks the event loop
_MAX_PATH = 1000  # characters from which to go on: each error within repeats them
_ARRAYS, _SIMPLE = {list, set, frozenset}, {str, bool, int, float}

decoder = cache(msgspec.json.Decoder)  # one for each type
convert = msgspec.convert  # of all parameters; tests note the type
_scalar = msgspec.json.Decoder(bool | int | float | None).decode

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
        errors = _errors(given, kind, (), iter(range(_MAX_ITEMS))) or [((), failure)]
    except (ValueError, RecursionError):
        raise HTTPException(400, "The request body is not JSON.") from None
    parts = [InvalidPart(detail, pointer=json_pointer(path)) for path, detail in errors]
    raise Invalid(422, "The request body is invalid.", parts)


def read_query[T: Input](request: Request[Any], kind: type[T]) -> T:
    """Return the query parameters, the last of those that repeat but for lists; or raise 400."""
    raw = request.scope["query_string"]
    given = _values(request.query_params.multi_items(), kind) if raw else {}
    with suppress(ValueError):  # each error is named below
        if b"%00" not in raw:
            return convert(given, kind)
    errors = _errors(given, kind, (), iter(range(_MAX_ITEMS)))
    parts = [InvalidPart(detail, parameter=path[0] if path else UNSET) for path, detail in errors]
    raise Invalid(400, "The query is invalid.", parts)


def read_path[T: Input](request: Request[Any], kind: type[T]) -> T:
    """Return the path parameters, or raise 404 if one is invalid, such as an id beyond bigint."""
    if "\0" in request.scope["path"]:
        raise HTTPException(404)
    try:
        return convert(_values(request.path_params.items(), kind), kind)
    except ValueError:
        raise HTTPException(404) from None


def _values(parameters: Iterable[tuple[str, Any]], kind: type[Input]) -> dict[str, Any]:
    """Return parameters as JSON has them: strings where their types take them, else numbers."""
    types, given = _types(kind), {}
    for name, value in parameters:
        item, is_list = types.get(name, (str, False))
        found: Any = (text := str(value))  # {id:int} is none
        if item is not str and text == text.strip():
            try:  # suppress() takes longer than the rest
                found = _scalar(text)
                if item not in _SIMPLE:  # 1 may be a Decimal's text
                    msgspec.convert(text, item)
                    found = text
            except ValueError:
                pass
        if not is_list:
            given[name] = found
        else:
            given.setdefault(name, []).append(found)
    return given


@cache
def _types(kind: type[Input]) -> dict[str, tuple[Any, bool]]:
    """Return the type of each parameter, str if it takes any text, and whether it is a list."""
    types = {}
    for one in msgspec.structs.fields(kind):
        is_list = get_origin(bare := bare_type(one.type)) in _ARRAYS
        item = get_args(bare)[0] if is_list else one.type
        bare = bare_type(item)
        if str in map(bare_type, (bare, *get_args(bare))):
            bare = str
        types[one.encode_name] = (bare if bare in _SIMPLE else item, is_list)
    return types


def _errors(value: Any, kind: Any, path: _Path, left: Iterator[int]) -> _Errors:
    """Return the errors in at most `left` items of a value, else the one that msgspec names."""
    found: _Errors = []
    items = _items(value, form_of(value, kind)) if len(str(path)) <= _MAX_PATH else ()
    for (name, item, item_kind), _ in zip(items, left, strict=False):
        if isinstance(item_kind, str):
            found.append(((*path, name), item_kind))
        else:
            found += _errors(item, item_kind, (*path, name), left)
    if isinstance(value, str) and _UNSTORABLE.search(value):
        found.append((path, _CHARACTER))
    try:
        if not found:
            msgspec.convert(value, kind)
    except ValueError as error:
        detail, *tag = re.split(r" - at `(?:\$\.([^'`.[]+)|[^']*)`\Z", str(error))[:2]
        found.append(((*path, *filter(None, tag)), _DETAILS.get(detail, detail)))
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
