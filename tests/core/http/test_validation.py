"""What a request brings."""

import json
from typing import Any

import httpx
import pytest
from marshmallow import Schema, fields, validate
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from groundwork.core.http.body_limit import MAX_BODY_BYTES
from groundwork.core.http.validation import read_json, read_query, text
from tests.openapi.description import is_a_problem

JSON = {"Content-Type": "application/json"}


class Author(Schema):
    """A part of the body."""

    name = text(5, required=True)


class Book(Schema):
    """A body."""

    title = text(5, required=True)
    blurb = text(5, blank=True, load_default="")
    authors = fields.List(fields.Nested(Author))


class Search(Schema):
    """A query."""

    year = fields.Integer(required=True, validate=validate.Range(0, 3000))
    word = text(4, load_default=None)


async def body(request: Request) -> JSONResponse:
    """Answer what was read."""
    return JSONResponse(await read_json(request, Book()))


async def query(request: Request) -> JSONResponse:
    """Answer what was read."""
    return JSONResponse(read_query(request, Search()))


@pytest.fixture
def app(app: Starlette) -> Starlette:
    """Give the application with routes that read."""
    app.router.routes += [Route("/body", body, methods=["POST"]), Route("/query", query)]
    return app


@pytest.mark.parametrize("given", ["application/json", "Application/JSON ; charset=utf-8"])
async def test_a_body_is_read(client: httpx.AsyncClient, given: str) -> None:
    """What is right comes as it is, and what is left out as its default."""
    headers = {"Content-Type": given}
    response = await client.post("/body", content='{"title": " é\\n"}', headers=headers)

    assert response.json() == {"title": " é\n", "blurb": ""}


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}])
async def test_another_type_is_refused(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """A form that a foreign page sends, with no preflight, is no JSON: 415."""
    response = await client.post("/body", content='{"title": "a"}', headers=headers)

    assert response.status_code == 415
    assert response.json()["detail"] == "The body must be application/json."
    assert is_a_problem(response)


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"{",
        b'{"title": "\xff"}',
        b'{"title": NaN}',
        b'{"title": -Infinity}',
        b'{"title": %s}' % (b"9" * 5000),
        b"[" * 200_000,
        '{"title": "a"}'.encode("utf-16"),
    ],
    ids=lambda given: given[:20],
)
async def test_what_is_not_json_is_refused(client: httpx.AsyncClient, given: bytes) -> None:
    """Python reads more than JSON, and chokes on some of it: either way 400."""
    response = await client.post("/body", content=given, headers=JSON)

    assert response.status_code == 400
    assert response.json()["detail"] == "The body is not JSON."
    assert is_a_problem(response)


async def test_a_large_body_is_refused(client: httpx.AsyncClient) -> None:
    """The limit holds while a route reads: 413."""
    response = await client.post("/body", content=b" " * (MAX_BODY_BYTES + 1), headers=JSON)

    assert response.status_code == 413
    assert is_a_problem(response)


@pytest.mark.parametrize(
    ("given", "pointer", "detail"),
    [
        ({}, "#/title", "Missing data for required field."),
        ({"title": None}, "#/title", "Field may not be null."),
        ({"title": 1}, "#/title", "Not a valid string."),
        ({"title": " \n"}, "#/title", "Blank."),
        ({"title": "x" * 6}, "#/title", "Longer than maximum length 5."),
        ({"title": "a\0"}, "#/title", "Has a character that can't be stored."),
        ({"title": "\ud800"}, "#/title", "Has a character that can't be stored."),
        ({"title": "a", "a/b~é": 1}, "#/a~1b~0%C3%A9", "Unknown field."),
        ({"title": "a", "\ud800": 1}, "#/%3F", "Unknown field."),
        ({"title": "a", "authors": [{}]}, "#/authors/0/name", "Missing data for required field."),
        ([], "#", "Invalid input type."),
        ("title", "#", "Invalid input type."),
    ],
)
async def test_a_fault_is_named(
    client: httpx.AsyncClient, given: Any, pointer: str, detail: str
) -> None:
    """A body that is JSON, and not what is wanted, is 422, with the fault and its place."""
    response = await client.post("/body", content=json.dumps(given), headers=JSON)

    assert response.status_code == 422
    assert response.json()["errors"] == [{"pointer": pointer, "detail": detail}]
    assert is_a_problem(response)


async def test_blank_may_be_right(client: httpx.AsyncClient) -> None:
    """Where a field says so, blank text is text."""
    response = await client.post("/body", json={"title": "a", "blurb": " "})

    assert response.json() == {"title": "a", "blurb": " "}


async def test_every_fault_is_named(client: httpx.AsyncClient) -> None:
    """One answer has all that is wrong."""
    response = await client.post("/body", json={"titel": "a", "blurb": "x" * 6})

    named = {error["pointer"] for error in response.json()["errors"]}
    assert named == {"#/title", "#/titel", "#/blurb"}
    assert response.json()["detail"] == "The body has faults."


async def test_the_answer_stays_small(client: httpx.AsyncClient) -> None:
    """Of very many faults 100 are enough."""
    response = await client.post("/body", json={str(number): 0 for number in range(9999)})

    assert len(response.json()["errors"]) == 100
    assert is_a_problem(response)


async def test_a_query_is_read(client: httpx.AsyncClient) -> None:
    """A parameter becomes what the schema says."""
    response = await client.get("/query?year=1984")

    assert response.json() == {"year": 1984, "word": None}


async def test_every_fault_of_a_query_is_named(client: httpx.AsyncClient) -> None:
    """A query with faults is 400, with each parameter that has one."""
    response = await client.get("/query?year=3001&word=%00more&wrod=a")

    assert response.status_code == 400
    assert (is_a_problem(response), response.json()["detail"]) == (True, "The query has faults.")
    assert {error["parameter"]: error["detail"] for error in response.json()["errors"]} == {
        "year": "Must be greater than or equal to 0 and less than or equal to 3000.",
        "word": "Has a character that can't be stored. Longer than maximum length 4.",
        "wrod": "Unknown field.",
    }
