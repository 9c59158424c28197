"""The OpenAPI document, made of the routes, their handlers' operations and docstrings."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.client import responses as phrases
from pathlib import Path
from typing import Any

import msgspec
from starlette.routing import BaseRoute

from groundwork import __version__
from groundwork.core.http.operations import operation
from groundwork.core.http.responses import Problem
from groundwork.core.http.routing import flatten

_STRING = {"type": "string"}
_REF = "#/components/schemas/{name}"

type _Json = dict[str, Any]


def describe(app_name: str, routes: Iterable[BaseRoute]) -> _Json:
    """Return the OpenAPI document."""
    common = msgspec.toml.decode(Path(__file__).with_name("common.toml").read_bytes())
    handlers = _handlers(routes)
    bodies = [one.body for *_, one in handlers if isinstance(one.body, type)]
    given = [kind for *_, one in handlers for kind in one.returns.values()]
    kinds = [Problem, *bodies, *(kind for kind in given if not isinstance(kind, str))]
    inputs = [kind for *_, one in handlers for kind in (one.path, one.query) if kind]
    parameters = [field.type for kind in inputs for field in msgspec.structs.fields(kind)]
    schemas, components = msgspec.json.schema_components(kinds + parameters, ref_template=_REF)
    by_kind = dict(zip(kinds, schemas, strict=False))  # a parameter is there for its Enum alone
    _forbid_nul([by_kind[body] for body in bodies], dict(components))
    for schema in components.values():
        schema["additionalProperties"] = False
        schema["description"] = inspect.cleandoc(schema.get("description", ""))
    paths: dict[str, _Json] = {}
    for path, method, handler, one in handlers:
        paths.setdefault(path, {})[method.lower()] = _operation(handler, one, by_kind, common)
    document: _Json = common["document"]
    document["info"] |= {"title": app_name, "version": __version__}
    document["paths"] = paths
    document["components"]["schemas"] = components
    statuses = {status for *_, one in handlers for status in one.problems}
    texts = {str(status): f"{phrases.get(status, status)}." for status in sorted(statuses)}
    document["components"]["responses"] = {
        status: {
            "description": text,
            "headers": _headers(common, common["error_headers"].get(status, {})),
            "content": {"application/problem+json": {"schema": by_kind[Problem]}},
        }
        for status, text in {**texts, **common["errors"]}.items()
    }
    return document


def _handlers(routes: Iterable[BaseRoute]) -> list[tuple[str, str, Callable[..., Any], operation]]:
    """Return path, method, handler and operation of each handler that has one."""
    return [
        (path, method, route.endpoint, vars(route.endpoint)["operation"])
        for path, route in flatten(routes)
        if "operation" in vars(route.endpoint)
        for method in sorted((route.methods or set()) - {"HEAD"})
    ]


def _operation(
    handler: Callable[..., Any], one: operation, schemas: Mapping[Any, _Json], common: _Json
) -> _Json:
    text = inspect.cleandoc(handler.__doc__ or "").partition("\n\nRaises:")[0]
    summary, _, description = text.partition("\n\n")
    shared = common["document"]["components"]["parameters"]
    parameters = [{"$ref": f"#/components/parameters/{name}"} for name in shared]
    for place, kind in {"path": one.path, "query": one.query}.items():
        parameters += _parameters(place, kind) if kind else ()
    responses = {
        str(status): {
            "description": phrases.get(status, str(status)),
            "headers": _headers(common, one.headers),
            "content": _content(kind, schemas),
        }
        for status, kind in one.returns.items()
    }
    for status in sorted(one.problems):
        responses[str(status)] = {"$ref": f"#/components/responses/{status}"}
    entry = {
        "operationId": handler.__name__,
        "tags": handler.__module__.split(".")[1:2],
        "summary": summary.rstrip("."),
        "description": description,
        "parameters": parameters,
        "responses": responses,
    }
    if one.body:
        entry["requestBody"] = {"required": True, "content": _content(one.body, schemas)}
    if one.guarded or one.security:
        names = ("bearer", "basic") if one.guarded else one.security
        entry["security"] = [*({name: []} for name in names), *([{}] if one.guarded else ())]
    return entry


def _parameters(place: str, kind: type[msgspec.Struct]) -> Iterator[_Json]:
    (reference,), schemas = msgspec.json.schema_components((kind,), ref_template=_REF)
    schema = schemas[reference["$ref"].rpartition("/")[2]]
    for name, given in schema["properties"].items():
        one = {"description": "", **given}
        text, required = one.pop("description"), name in schema["required"]
        _forbid_nul(one, {})
        yield {"name": name, "in": place, "required": required, "description": text, "schema": one}


def _content(kind: Any, schemas: Mapping[Any, _Json]) -> _Json:
    if kind is None:
        return {}
    if isinstance(kind, str):
        return {kind: {"schema": _STRING if kind.startswith("text/") else {}}}
    return {"application/json": {"schema": schemas[kind]}}


def _headers(common: _Json, patterns: Mapping[str, str]) -> _Json:
    return {
        name: {
            "required": not re.fullmatch(pattern, ""),
            "schema": _STRING | {"pattern": f"^{pattern}$"},
        }
        for name, pattern in {**common["headers"], **patterns}.items()
    }


def _forbid_nul(schema: Any, unseen: _Json) -> None:
    """Add to each string of a request what validation.py checks: it contains no NUL."""
    if isinstance(schema, dict):
        schema = unseen.pop(schema.get("$ref", "").rpartition("/")[2], schema)
        if schema.get("type") == "string" and not schema.keys() & {"pattern", "format"}:
            schema["pattern"] = r"^[^\x00]*$"
        schema = [*schema.values()]
    for item in schema if isinstance(schema, list) else ():
        _forbid_nul(item, unseen)
