"""The description, and how an answer differs from it."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
from starlette.routing import compile_path

from groundwork.openapi.services import get_description

DESCRIPTION = get_description("Groundwork")
PATHS: dict[str, dict[str, Any]] = DESCRIPTION["paths"]
GUARDED = {path for path in PATHS if "security" in PATHS[path].get("get", {})}
# These say something to a client, so that one which is served is described.
_HEADERS = {
    "Allow",
    "Cache-Control",
    "Content-Encoding",
    "Content-Security-Policy",
    "ETag",
    "Location",
    "Server-Timing",
    "WWW-Authenticate",
    "X-Request-ID",
}


def urls(path: str) -> list[str]:
    """Return where GET finds a path: once for each value that its parameter may have.

    A parameter that may be anything has an answer only where there is a row: the feature asks it.
    """
    found = [path] if "get" in PATHS[path] else []
    for parameter in map(_resolve, PATHS[path].get("get", {}).get("parameters", ())):
        if parameter["in"] == "path":
            place, values = f"{{{parameter['name']}}}", parameter["schema"].get("enum", ())
            found = [url.replace(place, value) for url in found for value in values]
    return found


async def check(response: httpx.Response) -> None:
    """Compare a response with the description of its path and method; a hook for httpx.

    Raises:
        AssertionError: they differ; its message has a line for each difference.
    """
    await response.aread()
    request = response.request
    for path, entry in PATHS.items():
        if compile_path(path)[0].match(request.url.path) and request.method.lower() in entry:
            found = differences(path, response)
            title = f"{request.method} {path}, {response.status_code}: not as described"
            assert not found, "\n- ".join([title, *found])


def differences(path: str, response: httpx.Response) -> list[str]:
    """Return how an answer differs from what is described for its method and status.

    Any entry of the path describes the answer to a method that the path does not know.
    """
    entry = PATHS[path]
    operation = entry.get(response.request.method.lower(), next(iter(entry.values())))
    if str(response.status_code) not in operation["responses"]:
        return [f"{response.status_code} is not described"]
    described = _resolve(operation["responses"][str(response.status_code)])
    return [*_in_headers(described, response), *_in_body(described, response)]


def is_a_problem(response: httpx.Response) -> bool:
    """Tell whether an answer has the type and the form of problem details."""
    reference = {"$ref": "#/components/schemas/Problem"}
    media_type = response.headers["content-type"]
    return media_type == "application/problem+json" and not [*_faults(reference, response.json())]


def _in_headers(described: dict[str, Any], response: httpx.Response) -> Iterator[str]:
    headers = described.get("headers", {})
    for name in sorted(_HEADERS - headers.keys()):
        if name in response.headers:
            yield f"{name} is not described"
    for name, header in ((name, _resolve(header)) for name, header in headers.items()):
        if name in response.headers:
            yield from _faults(header["schema"], response.headers[name])
        elif header.get("required"):
            yield f"no {name}"


def _in_body(described: dict[str, Any], response: httpx.Response) -> Iterator[str]:
    media_type = response.headers.get("Content-Type", "").partition(";")[0]
    if media_type not in described.get("content", {"": {}}):
        yield f"{media_type!r} is not described"
    elif media_type:
        body = json.loads(response.text) if media_type.endswith("json") else response.text
        yield from _faults(described["content"][media_type]["schema"], body)


def _faults(schema: dict[str, Any], value: object) -> Iterator[str]:
    from openapi_schema_validator import OAS31Validator, oas31_format_checker

    whole = schema | {"components": DESCRIPTION["components"]}
    for error in OAS31Validator(whole, format_checker=oas31_format_checker).iter_errors(value):
        yield error.message


def _resolve(entry: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in entry:
        return entry
    _, _, kind, name = entry["$ref"].split("/")
    found: dict[str, Any] = DESCRIPTION["components"][kind][name]
    return found
