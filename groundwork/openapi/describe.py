"""The OpenAPI document, made of the routes, their handlers' operations and docstrings."""

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.routing import BaseRoute, Route

from groundwork import __version__
from groundwork.core.http.operations import operation
from groundwork.core.http.probes import Probe
from groundwork.core.http.problems import Problem
from groundwork.core.structs import Input

_TEXT = """\
What this service offers over HTTP. Open a row to see its parameters and responses; “Try it out”
sends a real request.

Each route that supports GET supports HEAD: the same response without its body. In development all
routes are open. Elsewhere, those with a padlock need `OPS_TOKEN`, as a Bearer token or as the
password of Basic with any user name; if no token is configured, they return 404.

Errors are problem details (RFC 9457). An unknown path returns 404, and so does a path with an extra
slash at its end."""
_ERRORS = {
    400: "The query is invalid, as listed in `errors`, or the body is not JSON.",
    401: "`OPS_TOKEN` is missing or wrong.",
    404: "The resource does not exist, or `OPS_TOKEN` is not set.",
    405: "The path does not support this method.",
    409: "A unique value is already in use; see `detail`.",
    413: "The body is larger than 1 MiB.",
    415: "The body must be application/json.",
    422: "The body is invalid; `errors` lists every error.",
    500: "An unexpected error; the log has it under the request ID.",
    503: "The database is unavailable; the client may retry.",
}
_REALM = '(Basic|Bearer) realm="Groundwork"'
_ERROR_HEADERS = {
    401: {"WWW-Authenticate": f"{_REALM}, {_REALM}"},
    405: {"Allow": "[A-Z]+(, [A-Z]+)*"},
    503: {"Retry-After": "[0-9]+"},
}
_STRING = {"type": "string"}
_COMMON_PARAMETERS = {
    "X-Request-ID": "The client's ID for this request, returned in the response and added to each "
    "log line. A value other than 1 to 128 characters of `A-Za-z0-9._:+/=@-` is replaced by a new "
    "UUID.",
    "traceparent": "W3C Trace Context; its trace ID is added to each log line.",
}
_COMMON_HEADERS = {"X-Request-ID": "[A-Za-z0-9._:+/=@-]{1,128}", "Server-Timing": "(app;dur=.+)?"}
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`OPS_TOKEN` as the token."},
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "Any user name, and `OPS_TOKEN` as the password.",
    },
}
_REF = "#/components/schemas/{name}"

type _Json = dict[str, Any]
type _Handler = Callable[..., Any]


def describe(app_name: str, routes: Iterable[BaseRoute], probes: Mapping[str, Probe]) -> _Json:
    """Return the OpenAPI document."""
    handlers = [*_handlers(routes, probes)]
    bodies = [one.body for *_, one in handlers if one.body]
    kinds = [Problem, *bodies, *(kind for *_, one in handlers for kind in one.structs())]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    for name in msgspec.json.schema_components(bodies)[1]:
        _forbid_nul(components[name])
    for schema in filter(lambda one: "properties" in one, components.values()):
        schema["additionalProperties"] = False
        schema["description"] = inspect.cleandoc(schema.get("description", ""))
    by_kind = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, _Json] = {}
    for path, method, handler, one in handlers:
        paths.setdefault(path, {})[method.lower()] = _operation(handler, one, by_kind)
    tags = dict.fromkeys(_tag(handler) for _, _, handler, _ in handlers)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": app_name,
            "version": __version__,
            "description": _TEXT,
            "license": {"name": "GPL-3.0-only", "identifier": "GPL-3.0-only"},
        },
        "tags": [
            {"name": tag, "description": sys.modules[f"groundwork.{tag}"].__doc__} for tag in tags
        ],
        "paths": paths,
        "components": {
            "securitySchemes": _SECURITY,
            "parameters": {
                name: {"name": name, "in": "header", "description": text, "schema": _STRING}
                for name, text in _COMMON_PARAMETERS.items()
            },
            "responses": {str(status): _error(status, by_kind[Problem]) for status in _ERRORS},
            "schemas": components,
        },
    }


def _handlers(
    routes: Iterable[BaseRoute], probes: Mapping[str, Probe]
) -> Iterator[tuple[str, str, _Handler, operation]]:
    served = [(path, {"GET"}, probe.respond) for path, probe in probes.items()]
    served += [
        (one.path_format, one.methods or set(), one.endpoint)
        for one in routes
        if isinstance(one, Route)
    ]
    for path, methods, handler in served:
        declared = getattr(handler, "operation", None)
        if declared is not None:
            yield from ((path, one, handler, declared) for one in sorted(methods - {"HEAD"}))


def _tag(handler: _Handler) -> str:
    return handler.__module__.split(".")[1]


def _operation(handler: _Handler, one: operation, schemas: Mapping[Any, _Json]) -> _Json:
    text = inspect.cleandoc(handler.__doc__ or "").partition("\n\nRaises:")[0]
    summary, _, description = text.partition("\n\n")
    places = {"path": one.path, "query": one.query, "header": one.header}
    parameters = [{"$ref": f"#/components/parameters/{name}"} for name in _COMMON_PARAMETERS]
    for place, kind in places.items():
        parameters += _parameters(place, kind) if kind else ()
    entry = {
        "operationId": handler.__name__,
        "tags": [_tag(handler)],
        "summary": summary.rstrip("."),
        "description": description,
        "parameters": parameters,
        "responses": {
            **{str(status): _response(one, status, schemas) for status in one.returns},
            **{
                str(status): {"$ref": f"#/components/responses/{status}"}
                for status in sorted(one.problems)
            },
        },
    }
    if one.body:
        content = {"application/json": {"schema": schemas[one.body]}}
        entry["requestBody"] = {"required": True, "content": content}
    if one.guarded:
        entry["security"] = [{"bearer": []}, {"basic": []}, {}]
    return entry


def _parameters(place: str, kind: type[msgspec.Struct]) -> Iterator[_Json]:
    schema = msgspec.json.schema(kind)["$defs"][kind.__name__]
    for name, one in schema["properties"].items():
        text = {"description": one.pop("description")} if "description" in one else {}
        if issubclass(kind, Input):
            _forbid_nul(one)
        required = name in schema["required"]
        yield {"name": name, "in": place, "required": required, "schema": one, **text}


def _response(one: operation, status: int, schemas: Mapping[Any, _Json]) -> _Json:
    given = one.returns[status]
    kinds = given if isinstance(given, tuple) else () if given is None else (given,)
    content: _Json = {kind: {"schema": _STRING} for kind in kinds if isinstance(kind, str)}
    forms = [schemas[kind] for kind in kinds if not isinstance(kind, str)]
    if forms:
        schema = forms[0] if len(forms) == 1 else {"oneOf": forms}
        content["application/json"] = {"schema": schema}
    response = {"description": HTTPStatus(status).phrase, "headers": _headers(one.headers)}
    return response | ({"content": content} if content else {})


def _error(status: int, schema: _Json) -> _Json:
    return {
        "description": _ERRORS[status],
        "headers": _headers(_ERROR_HEADERS.get(status, {})),
        "content": {"application/problem+json": {"schema": schema}},
    }


def _headers(patterns: Mapping[str, str]) -> _Json:
    return {
        name: {
            "required": not re.fullmatch(pattern, ""),
            "schema": {"type": "string", "pattern": f"^{pattern}$"},
        }
        for name, pattern in {**_COMMON_HEADERS, **patterns}.items()
    }


def _forbid_nul(schema: Any) -> None:
    """Add to each string of a request what validation.py checks: it contains no NUL."""
    if isinstance(schema, dict):
        if schema.get("type") == "string" and not schema.keys() & {"pattern", "format", "enum"}:
            schema["pattern"] = r"^[^\x00]*$"
        schema = [*schema.values()]
    for item in schema if isinstance(schema, list) else ():
        _forbid_nul(item)
