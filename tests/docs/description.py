"""The description, and how an answer differs from it."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
from openapi_schema_validator import OAS31Validator, oas31_format_checker

from groundwork.docs.services import get_description

DESCRIPTION = get_description("Groundwork")
PATHS = tuple(DESCRIPTION["paths"])
GUARDED = {path for path in PATHS if "security" in DESCRIPTION["paths"][path]["get"]}
# Each with the path that describes it: one for every value that a part of it may have.
URLS = [
    (path, path.replace("{part}", part))
    for path in PATHS
    for part in (("page.js", "swagger-ui-bundle.js", "swagger-ui.css") if "{" in path else ("",))
]
# These say something to a client, so that one which is served is described.
_HEADERS = {
    "Allow",
    "Cache-Control",
    "Content-Encoding",
    "Content-Security-Policy",
    "ETag",
    "Server-Timing",
    "WWW-Authenticate",
    "X-Request-ID",
}


def differences(path: str, response: httpx.Response) -> list[str]:
    """Return how an answer to GET differs from what is described for its status."""
    responses = DESCRIPTION["paths"][path]["get"]["responses"]
    if str(response.status_code) not in responses:
        return [f"{response.status_code} is not described"]
    described = _resolve(responses[str(response.status_code)])
    return [*_in_headers(described, response), *_in_body(described, response)]


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
    whole = schema | {"components": DESCRIPTION["components"]}
    for error in OAS31Validator(whole, format_checker=oas31_format_checker).iter_errors(value):
        yield error.message


def _resolve(entry: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in entry:
        return entry
    _, _, kind, name = entry["$ref"].split("/")
    found: dict[str, Any] = DESCRIPTION["components"][kind][name]
    return found
