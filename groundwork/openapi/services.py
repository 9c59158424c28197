"""The description, and the parts of its page, out of their files. Results, no HTTP."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from groundwork import __version__
from groundwork.core.http.html import fill

_FOLDER = Path(__file__).parent
# What the page loads, and where it lies.
_PARTS = {
    "page.js": "page.js",
    "swagger-ui-bundle.js": "swagger-ui/swagger-ui-bundle.js.gz",
    "swagger-ui.css": "swagger-ui/swagger-ui.css.gz",
}


@dataclass(frozen=True, slots=True)
class Part:
    """A file that the page loads. What is vendored is kept as gzip, at a quarter of its size."""

    body: bytes
    media_type: str
    is_gzip: bool
    etag: str


@cache
def get_description(app_name: str) -> dict[str, Any]:
    """Return the OpenAPI document: openapi.json, with this service's name and version."""
    document: dict[str, Any] = json.loads((_FOLDER / "openapi.json").read_bytes())
    document["info"] |= {"title": app_name, "version": __version__}
    _spread(document, document.pop("x-every"))
    return document


@cache
def get_page(app_name: str) -> str:
    """Return the page, with the name of the service as its title."""
    return fill((_FOLDER / "page.html").read_text("utf-8"), app_name=app_name)


def get_part(name: str) -> Part | None:
    """Return what the page loads under this name, if it does."""
    return _read_part(_PARTS[name]) if name in _PARTS else None


def _spread(document: dict[str, Any], every: dict[str, Any]) -> None:
    """Give each operation and each answer what all of them have; the file says it once."""
    answers = [*document["components"]["responses"].values()]
    for entry in document["paths"].values():
        for operation in entry.values():
            operation["parameters"] = every["parameters"] + operation.get("parameters", [])
            operation["responses"] |= every["responses"]
            answers += operation["responses"].values()
    for answer in answers:
        if "$ref" not in answer:
            answer["headers"] = every["headers"] | answer.get("headers", {})


@cache
def _read_part(file: str) -> Part:
    body = (_FOLDER / file).read_bytes()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    media_type = "text/css" if ".css" in file else "text/javascript"
    return Part(body, media_type, file.endswith(".gz"), etag)
