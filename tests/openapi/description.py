"""The API description, and how requests, responses and handlers differ from it."""

import json
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any
from urllib.parse import parse_qsl, unquote

import httpx
import pytest
from starlette.routing import BaseRoute, compile_path

from groundwork.core.http import validation
from groundwork.core.http.operations import operation
from groundwork.core.http.routing import flatten
from groundwork.core.structs import Input
from groundwork.main import ROUTES
from groundwork.openapi.describe import describe


def described(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """Return the API description, in which each Struct has a name of its own.

    msgspec names two of one name by their modules, but for a Page of each: KeyError.
    """
    try:
        return describe("Groundwork", routes)
    except KeyError as error:
        error.add_note("Two features have a Struct of this name: rename one.")
        raise


DESCRIPTION = described(ROUTES)
PATHS: dict[str, dict[str, Any]] = DESCRIPTION["paths"]
GUARDED = {path for path in PATHS if {} in PATHS[path].get("get", {}).get("security", ())}
# Headers of any response, which are not described.
_COMMON_HEADERS = {
    "access-control-allow-origin",
    "access-control-expose-headers",
    "connection",
    "content-length",
    "content-type",
    "date",
    "referrer-policy",
    "transfer-encoding",
    "vary",
    "x-content-type-options",
}
# Where a schema has others of the same name.
_INNER = {"schema", "items", "anyOf", "additionalProperties"}
# Each method, path and status code that a test has seen.
SEEN: set[tuple[str, str, int]] = set()
# The Structs that the handler of this test's request has read.
_read: ContextVar[list[type]] = ContextVar("_read")
# The route that has served it.
_route: ContextVar[object] = ContextVar("_route", default=None)


def never_seen() -> list[str]:
    """Return the responses that a handler declares, and that no test has seen."""
    return [
        f"{method} {path}: {status}"
        for path, entry in PATHS.items()
        for method in map(str.upper, entry)
        for status in {*_operation(path, method).returns, *_operation(path, method).errors}
        if (method, path, status) not in SEEN
    ]


def unlimited(document: dict[str, Any]) -> list[str]:
    """Return the integers of requests that have no limits: a column has some."""
    found = []
    for path, entry in document["paths"].items():
        for method, one in entry.items():
            given = [one["parameters"], one.get("requestBody", {})]
            title = f"{method.upper()} {path}: "
            found += [f"{title}{name}" for name in _unlimited(given, document, set())]
    return found


def _unlimited(schema: Any, document: dict[str, Any], seen: set[str], name: str = "") -> list[str]:
    """Return the names of the integers without limits, each schema that is referred to once."""
    if isinstance(schema, list):
        return [one for item in schema for one in _unlimited(item, document, seen, name)]
    if not isinstance(schema, dict):
        return []
    if (reference := schema.get("$ref")) and reference not in seen:
        seen.add(reference)
        _, _, kind, target = reference.split("/")
        return _unlimited(document["components"][kind][target], document, seen, name)
    if schema.get("type") == "integer":
        limits = {key.removeprefix("exclusive").lower() for key in schema}
        return [] if {"minimum", "maximum"} <= limits else [name]
    own = schema["name"] if "in" in schema else name
    return [
        one
        for key, item in schema.items()
        for one in _unlimited(item, document, seen, own if key in _INNER else key)
    ]


def record_reads(patch: pytest.MonkeyPatch) -> None:
    """Note each Struct that a handler reads, for check() to compare with what is declared."""
    decoder, convert = validation.decoder, validation.convert

    def noting_decoder(kind: type) -> Any:
        _read.get([]).append(kind)
        return decoder(kind)

    def noting_convert(given: dict[str, Any], kind: type) -> Any:
        _read.get([]).append(kind)
        return convert(given, kind)

    patch.setattr(validation, "decoder", noting_decoder)
    patch.setattr(validation, "convert", noting_convert)


def begin() -> None:
    """Forget what the handler of an earlier request has read."""
    _read.set([])
    _route.set(None)


def end(route: object) -> None:
    """Note which of the routes with the path of a request has served it."""
    _route.set(route)


def urls(path: str) -> list[str]:
    """Return the URLs of a path for GET, one for each value of its path parameter.

    A parameter without a list of values needs a row, a required query needs a value, a security
    scheme needs a user, a redirect has no 200, and a stream of events does not end: the feature's
    own tests request those.
    """
    get = PATHS[path].get("get", {})
    parameters = [_resolve(one) for one in get.get("parameters", ())]
    needs_query = any(one["in"] == "query" and one["required"] for one in parameters)
    needs_user = "security" in get and {} not in get["security"]
    ok = get.get("responses", {}).get("200")
    is_endless = ok and any(kind.startswith("text/event-stream") for kind in ok.get("content", ()))
    found = [path] if ok is not None and not (needs_query or needs_user or is_endless) else []
    for parameter in parameters:
        if parameter["in"] == "path":
            place, values = f"{{{parameter['name']}}}", parameter["schema"].get("enum", ())
            found = [url.replace(place, value) for url in found for value in values]
    return found


async def check(response: httpx.Response) -> None:
    """Compare request, handler and response with the description; a hook for httpx.

    Raises:
        AssertionError: they differ; its message has a line for each difference.
    """
    await response.aread()
    request = response.request
    served = {id(route): path for path, route in flatten(ROUTES)}.get(id(_route.get()))
    for path, entry in PATHS.items():
        method = request.method.lower()
        is_path = path == served if served else compile_path(path)[0].match(request.url.path)
        if is_path and method in entry:
            found = [
                *differences(path, response),
                *_in_request(entry[method], response),
                *_in_handler(path, request.method, response.is_success),
            ]
            title = f"{request.method} {path}, {response.status_code}: not as described"
            assert not found, "\n- ".join([title, *found])


def differences(path: str, response: httpx.Response) -> list[str]:
    """Return how a response differs from the description of its method and status.

    For a method that the path does not support, any entry of the path describes the response.
    """
    entry = PATHS[path]
    SEEN.add((response.request.method, path, int(response.status_code)))
    described = entry.get(response.request.method.lower(), next(iter(entry.values())))
    if str(response.status_code) not in described["responses"]:
        return [f"the status {response.status_code} is not described"]
    one = _resolve(described["responses"][str(response.status_code)])
    return [*_in_headers(one, response), *_in_body(one, response)]


def is_a_problem(response: httpx.Response) -> bool:
    """Return whether a response has the media type and the schema of problem details."""
    reference = {"$ref": "#/components/schemas/Problem"}
    media_type = response.headers["content-type"]
    return media_type == "application/problem+json" and not [*_errors(reference, response.json())]


def _in_request(described: dict[str, Any], response: httpx.Response) -> Iterator[str]:
    """Yield how a request differs that the service has accepted, or has rejected as invalid."""
    parameters = [_resolve(one) for one in described["parameters"]]
    query = {one["name"]: one for one in parameters if one["in"] == "query"}
    found = [*_in_query(query, response.request), *_in_content(described, response.request)]
    if response.is_success:
        yield from found
    elif response.headers.get("content-type") == "application/problem+json" and not found:
        for error in response.json().get("errors", ()):
            if not _is_of_whole(error, response.request):
                place = error.get("pointer") or error["parameter"]
                yield f"the request is as described, but rejected: {place}: {error['detail']}"


def _is_of_whole(error: dict[str, str], request: httpx.Request) -> bool:
    """Return whether an error is of a query or an object, whose __post_init__() no schema has."""
    if "parameter" in error or "pointer" not in error:
        return "parameter" not in error
    value = json.loads(request.content)
    for token in unquote(error["pointer"]).split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        value = value[int(name)] if isinstance(value, list) else value.get(name)
    return isinstance(value, dict)


def _in_query(described: dict[str, Any], request: httpx.Request) -> Iterator[str]:
    given = parse_qsl(request.url.query.decode(), keep_blank_values=True)
    for name in described.keys() - dict(given).keys():
        if described[name]["required"]:
            yield f"the query parameter {name} is missing"
    for name, text in given:
        if name not in described:
            yield f"the query parameter {name} is not described"
            continue
        schema = described[name]["schema"]
        forms = [schema, *schema.get("anyOf", ())]
        schema = next((one["items"] for one in forms if "items" in one), schema)
        if not [*_errors(schema, text)]:  # `str | None` takes 2024, too
            continue
        try:
            value = text if schema.get("type") == "string" else json.loads(text)
        except ValueError:
            value = text
        yield from (f"the query parameter {name}: {error}" for error in _errors(schema, value))


def _in_content(described: dict[str, Any], request: httpx.Request) -> Iterator[str]:
    content = described.get("requestBody", {}).get("content", {})
    if not content and request.content:
        yield "the request body is not described"
    if "application/json" in content:
        schema = content["application/json"]["schema"]
        errors = _errors(schema, json.loads(request.content or b"null"))
        yield from (f"the request body: {error}" for error in errors)


def _in_handler(path: str, method: str, is_success: bool) -> Iterator[str]:  # noqa: FBT001
    one = _operation(path, method)
    declared = {kind for kind in (one.path, one.query, one.body) if isinstance(kind, type)}
    read = set(_read.get([]))
    for kind in read - declared:
        yield f"the handler reads {kind.__name__}, which is not described"
    for kind in declared - read if is_success else ():
        if issubclass(kind, Input):
            yield f"{kind.__name__} is described, but the handler does not read it"


def _operation(path: str, method: str) -> operation:
    for template, route in flatten(ROUTES):
        if template == path and method in (route.methods or ()):
            found: operation = vars(route.endpoint)["operation"]
            return found
    raise LookupError(method, path)


def _in_headers(described: dict[str, Any], response: httpx.Response) -> Iterator[str]:
    headers = described.get("headers", {})
    for name in sorted(response.headers.keys() - _COMMON_HEADERS - {*map(str.lower, headers)}):
        yield f"the header {name} is not described"
    for name, header in headers.items():
        if name in response.headers:
            found = _errors(header["schema"], response.headers[name])
            yield from (f"the header {name}: {error}" for error in found)
        elif header["required"]:
            yield f"the header {name} is missing"


def _in_body(described: dict[str, Any], response: httpx.Response) -> Iterator[str]:
    media_type = response.headers.get("Content-Type", "").partition(";")[0]
    if media_type not in (described["content"] or {"": {}}):
        yield f"the media type {media_type!r} is not described"
    elif media_type:
        body = json.loads(response.text) if media_type.endswith("json") else response.text
        found = _errors(described["content"][media_type]["schema"], body)
        yield from (f"the response body: {error}" for error in found)


def _errors(schema: dict[str, Any], value: object) -> Iterator[str]:
    from openapi_schema_validator import OAS31Validator, oas31_format_checker

    whole = schema | {"components": DESCRIPTION["components"]}
    for error in OAS31Validator(whole, format_checker=oas31_format_checker).iter_errors(value):
        place, message = "/".join(map(str, error.absolute_path)), error.message[:300]
        yield f"{place}: {message}" if place else message


def _resolve(entry: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in entry:
        return entry
    _, _, kind, name = entry["$ref"].split("/")
    found: dict[str, Any] = DESCRIPTION["components"][kind][name]
    return found
