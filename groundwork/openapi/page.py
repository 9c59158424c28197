"""The page of the API description: every operation and schema in plain HTML, without a script."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec.json import encode

from groundwork.core.http.html import Html, fill

_ITEM = '<article id="$id"><h3><code>$title</code></h3>$text<dl>$entries</dl></article>'
_ENTRY = "<dt><code>$name</code> <small>$note</small></dt><dd>$kind$text</dd>"
_LIMIT = re.compile(r"const|default|enum|exclusive\w+|format|m(in|ax)\w+|pattern")

type _Json = Mapping[str, Any]


def render(document: _Json) -> Html:
    """Return the page of an OpenAPI document."""
    components = document["components"]
    operations = (
        _item(one["operationId"], f"{method.upper()} {path}", text, _operation(one, components))
        for path, methods in document["paths"].items()
        for method, one in methods.items()
        for text in [f"{one['summary']}.\n\n{one['description']}"]
    )
    schemas = (
        _item(name, name, one["description"], _fields(one))
        for name, one in components["schemas"].items()
    )
    return fill(
        Path(__file__).with_name("page.html").read_text("utf-8"),
        app_name=document["info"]["title"],
        version=document["info"]["version"],
        text=_prose(document["info"]["description"]),
        shared=Html("".join(map(_parameter, components["parameters"].values()))),
        operations=Html("".join(operations)),
        schemas=Html("".join(schemas)),
    )


def _operation(one: _Json, components: _Json) -> Iterator[Html]:
    common = components["responses"]["500"]["headers"].keys()
    for name in [name for each in one.get("security", ()) for name in each]:
        scheme = components["securitySchemes"][name]
        yield _entry(name, scheme["type"], {}, scheme.get("description", ""))
    yield from (_parameter(each) for each in one["parameters"] if "in" in each)
    for kind, each in one.get("requestBody", {"content": {}})["content"].items():
        yield _entry("body", kind, each["schema"], "")
    for status, response in one["responses"].items():
        found = components["responses"][status] if "$ref" in response else response
        for kind, each in (found.get("content") or {"no body": {"schema": {}}}).items():
            note = ", ".join([kind, *sorted(found["headers"].keys() - common)])
            yield _entry(status, note, each["schema"], found["description"])


def _parameter(one: _Json) -> Html:
    note = f"{one['in']}{', required' if one.get('required') else ''}"
    return _entry(one["name"], note, one["schema"], one.get("description", ""))


def _fields(one: _Json) -> Iterator[Html]:
    if "properties" not in one:  # of an enum.Enum
        yield _entry("value", "", one, "")
    for name, schema in one.get("properties", {}).items():
        note = "required" if name in one["required"] else ""
        yield _entry(name, note, schema, schema.get("description", ""))


def _item(name: str, title: str, text: str, entries: Iterator[Html]) -> Html:
    return fill(_ITEM, id=name, title=title, text=_prose(text), entries=Html("".join(entries)))


def _entry(name: str, note: str, schema: _Json, text: str) -> Html:
    return fill(_ENTRY, name=name, note=note, kind=_kind(schema), text=_prose(text))


def _kind(schema: _Json) -> Html:
    """Return what a schema takes, with links to others."""
    if "$ref" in schema:
        return fill('<a href="#$name">$name</a>', name=schema["$ref"].rpartition("/")[2])
    if forms := schema.get("anyOf"):
        return Html(" or ".join(map(_kind, forms)))
    of = [_kind(schema[name]) for name in ("items", "additionalProperties") if schema.get(name)]
    limits = [f"{key} `{encode(schema[key]).decode()}`" for key in filter(_LIMIT.fullmatch, schema)]
    return Html(" of ".join([schema.get("type", ""), *of]) + _prose(", ".join(limits)))


def _prose(text: str) -> Html:
    """Return the paragraphs of a text, with `code`."""
    html = re.sub(r"`([^`]+)`", r"<code>\1</code>", fill("$text", text=text))
    return Html("".join(f"<p>{one}</p>" for one in html.split("\n\n") if one))
