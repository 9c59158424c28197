"""GET /docs: the API description for people."""

import re
from html import unescape
from itertools import pairwise

import httpx
import pytest

from groundwork.openapi.page import render
from tests.openapi.description import DESCRIPTION

# What no route of ours has: a body, limits, lists and maps.
NOTE = {
    "description": "",
    "properties": {
        "title": {
            "type": "string",
            "minLength": 1,
            "pattern": "^<.*$",
            "description": "One `line`.",
        },
        "tags": {"type": "array", "items": {"$ref": "#/components/schemas/Tag"}},
        "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
        "pinned": {"type": "boolean", "default": False},
        "links": {"type": "array", "items": {"type": "string"}, "default": []},
        "body": {"type": "string", "default": ""},
        "state": {"anyOf": [{"enum": ["new", "old"], "type": "string"}, {"type": "null"}]},
    },
    "required": ["title"],
}
TAG = {"description": "", "enum": ["red", "blue"], "additionalProperties": False}


def text_of(page: str) -> str:
    """Return the text of a page, with single spaces."""
    return " ".join(
        unescape(re.sub("<style>.*</style>|<[^>]*>", " ", page, flags=re.DOTALL)).split()
    )


async def test_it_has_every_operation(client: httpx.AsyncClient) -> None:
    """Each operation is there with its summary, its own parameters and its responses."""
    page = text_of((await client.get("/docs")).text)

    for path, methods in DESCRIPTION["paths"].items():
        for method, one in methods.items():
            title = f"{method.upper()} {path} {one['summary']}".replace("`", " ")
            start = page.index(" ".join(title.split()))
            names = [each["name"] for each in one["parameters"] if "name" in each]
            for name in [*names, *one["responses"]]:
                assert f" {name} " in page[start:]


async def test_it_has_every_schema(client: httpx.AsyncClient) -> None:
    """Each schema is there with its fields, and every link within the page leads somewhere."""
    page = (await client.get("/docs")).text

    links, targets = set(re.findall('href="#([^"]+)', page)), re.findall(' id="([^"]+)', page)
    assert len(targets) == len(set(targets))
    assert links - set(targets) == set()
    assert {*DESCRIPTION["components"]["schemas"], "schemas"} <= set(targets)


def test_it_says_what_a_value_may_be() -> None:
    """Limits, items, alternatives and what is required are shown, and HTML in them is escaped."""
    body = {"application/json": {"schema": {"$ref": "#/components/schemas/Note"}}}
    post = {**DESCRIPTION["paths"]["/health/live"]["get"], "requestBody": {"content": body}}
    page = render(
        {
            **DESCRIPTION,
            "paths": {"/notes": {"post": post}},
            "components": {**DESCRIPTION["components"], "schemas": {"Note": NOTE, "Tag": TAG}},
        }
    )

    assert "body application/json Note" in text_of(page)
    for expected in (
        'Note title required string minLength 1 , pattern "^<.*$" One line .',
        "tags array of Tag",
        "counts object of integer",
        "pinned boolean default false",
        "links array of string default []",
        'body string default ""',
        'state string enum ["new","old"] or null',
        'Tag value enum ["red","blue"]',
    ):
        assert expected in text_of(page)
    assert "^&lt;.*$&quot;" in page
    assert "<p></p>" not in page


def test_a_description_is_optional() -> None:
    """A security scheme and a parameter need no description, as in OpenAPI."""
    own = {"name": "team", "in": "query", "schema": {"type": "integer"}}
    get = DESCRIPTION["paths"]["/health/live"]["get"]
    get = {**get, "security": [{"session": []}], "parameters": [own]}
    components = {
        **DESCRIPTION["components"],
        "parameters": {
            "a": {"name": "X-Space", "in": "header", "schema": {"type": "string"}},
            "b": {"name": "X-Team", "in": "header", "required": True, "schema": {}},
        },
        "securitySchemes": {"session": {"type": "apiKey", "in": "cookie", "name": "session"}},
    }
    document = {**DESCRIPTION, "paths": {"/me": {"get": get}}, "components": components}

    page = text_of(render(document))

    assert "session apiKey team query integer" in page
    assert "X-Space header string" in page
    assert "X-Team header, required" in page


async def test_it_can_be_read_by_its_headings(client: httpx.AsyncClient) -> None:
    """It has one h1 and one main, and no level of headings is left out."""
    page = (await client.get("/docs")).text

    levels = [int(level) for level in re.findall(r"<h(\d)", page)]
    assert (levels[0], levels.count(1), page.count("<main>")) == (1, 1, 1)
    assert max(after - before for before, after in pairwise(levels)) == 1


@pytest.mark.parametrize("settings", [{"app_name": "R&D"}], indirect=True)
async def test_it_has_the_name_of_the_service(client: httpx.AsyncClient) -> None:
    """Its title is the service's; links lead to the status page and to the document."""
    page = (await client.get("/docs")).text

    assert "<title>R&amp;D API</title>" in page
    assert '<a href="./">R&amp;D status</a>' in page
    assert '<a href="openapi.json">' in page


async def test_the_policy_is_strict(client: httpx.AsyncClient) -> None:
    """The Content-Security-Policy allows one style, and no script at all."""
    policy = (await client.get("/docs")).headers["content-security-policy"]

    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src 'none'; " in policy
