"""Requests to Structs."""

import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from time import process_time
from typing import Annotated, Any, Literal
from uuid import UUID

import httpx
import msgspec
import pytest
from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from groundwork.core.http.receiving import MAX_BODY_BYTES
from groundwork.core.http.responses import Json
from groundwork.core.http.validation import read_json, read_path, read_query
from groundwork.core.structs import DateTime, Id, Input, NotBlank
from tests.openapi.description import is_a_problem

JSON = {"Content-Type": "application/json"}

type Tags = Annotated[list[Annotated[str, Meta(max_length=2)]], Meta(max_length=2)]


UNSTORABLE = "Contains a character that cannot be stored."
INVALID = "Invalid value ' - at `$.b`'"


class Author(Input):
    """A part of the body."""

    name: Annotated[NotBlank, Meta(max_length=5)]


class Shelf(Struct, tag="shelf"):
    """A part of the body that may have other fields."""

    number: int


class Film(Input, tag="film"):
    """One form of a part of the body."""

    minutes: Id
    stars: list[Author]


class Song(Input, tag="song"):
    """The other form."""

    minutes: Id


class Book(Input):
    """A body."""

    title: Annotated[NotBlank, Meta(max_length=5)]
    blurb: Annotated[str, Meta(max_length=5)] | UnsetType = UNSET
    authors: list[Author] | UnsetType = UNSET
    tags: Tags | UnsetType | None = UNSET
    moods: frozenset[Annotated[str, Meta(max_length=2)]] | UnsetType = UNSET
    ratings: Annotated[dict[str, int], Meta(max_length=9)] | UnsetType = UNSET
    shelf: Shelf | UnsetType = UNSET
    counts: dict[int, int] | UnsetType = UNSET
    source: Film | Song | UnsetType | None = UNSET
    extra: Any | UnsetType = UNSET


class Values(Input, omit_defaults=True):
    """A body of the types that columns have."""

    day: date | None = None
    clock: time | None = None
    at: DateTime | None = None
    length: timedelta | None = None
    price: Decimal | None = None
    key: UUID | None = None


class Search(Input, omit_defaults=True):
    """A query."""

    year: Annotated[int, Meta(ge=0, le=3000)]
    word: Annotated[str, Meta(max_length=4)] | None = None
    tag: list[int] = msgspec.field(default_factory=list)
    names: list[str] = msgspec.field(default_factory=list)
    sizes: set[int] | UnsetType = UNSET
    since: datetime | None = None
    length: timedelta | None = None
    score: float | None = None
    is_new: bool | None = None
    most: Literal["all"] | int | None = None
    price: Decimal | None = None
    keys: list[UUID] = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        """Reject what is valid by itself."""
        if self.year == 0 and self.word:
            message = "The year 0 has no words."
            raise ValueError(message)


class BookPath(Input):
    """A path."""

    book_id: Id


class ChapterPath(Input, rename="camel"):
    """A path whose parameter has another name than its field."""

    chapter_id: Id


class DayPath(Input):
    """A path with a time."""

    day: datetime


class NamePath(Input):
    """A path with a text."""

    name: str


async def body(request: Request) -> Json:
    """Return what was read."""
    return Json(await read_json(request, Book))


async def values(request: Request) -> Json:
    """Return what was read."""
    return Json(await read_json(request, Values))


async def query(request: Request) -> Json:
    """Return what was read."""
    return Json(read_query(request, Search))


async def day(request: Request) -> Json:
    """Return what was read."""
    return Json(read_path(request, DayPath))


async def chapter(request: Request) -> Json:
    """Return what was read."""
    return Json(read_path(request, ChapterPath))


async def path(request: Request) -> Json:
    """Return what was read."""
    return Json(read_path(request, BookPath))


async def name(request: Request) -> Json:
    """Return what was read."""
    return Json(read_path(request, NamePath))


@pytest.fixture
def app(app: Starlette) -> Starlette:
    """Give the application with routes that read."""
    app.router.routes += [
        Route("/body", body, methods=["POST"]),
        Route("/values", values, methods=["POST"]),
        Route("/query", query),
        Route("/books/{book_id}", path),
        Route("/numbers/{book_id:int}", path),
        Route("/chapters/{chapterId}", chapter),
        Route("/names/{name}", name),
        Route("/days/{day}", day),
    ]
    return app


@pytest.mark.parametrize("given", ["application/json", "Application/JSON ; charset=utf-8"])
async def test_a_body_is_read(client: httpx.AsyncClient, given: str) -> None:
    """Text is taken as it is, and a field that is left out has its default."""
    headers = {"Content-Type": given}
    response = await client.post("/body", content='{"title": " é\\n"}', headers=headers)

    assert response.json() == {"title": " é\n"}


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}])
async def test_another_type_is_refused(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """A form that a foreign page sends, with no preflight, is no JSON: 415."""
    response = await client.post("/body", content='{"title": "a"}', headers=headers)

    assert response.status_code == 415
    assert response.json()["detail"] == "The request body must be application/json."
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
        b'{"title": "a", "extra": ' + b"[" * 200_000,
        '{"title": "a"}'.encode("utf-16"),
    ],
    ids=lambda given: given[:20],
)
async def test_what_is_not_json_is_refused(client: httpx.AsyncClient, given: bytes) -> None:
    """Python reads more than JSON, and chokes on some of it: either way 400."""
    response = await client.post("/body", content=given, headers=JSON)

    assert response.status_code == 400
    assert response.json()["detail"] == "The request body is not JSON."
    assert is_a_problem(response)


async def test_a_large_body_is_refused(client: httpx.AsyncClient) -> None:
    """The limit holds while a route reads: 413."""
    response = await client.post("/body", content=b" " * (MAX_BODY_BYTES + 1), headers=JSON)

    assert response.status_code == 413
    assert is_a_problem(response)


@pytest.mark.parametrize(
    ("given", "pointer", "detail"),
    [
        ({}, "#/title", "Missing required field."),
        ({"title": None}, "#/title", "Expected `str`, got `null`"),
        ({"title": 1}, "#/title", "Expected `str`, got `int`"),
        ({"title": ""}, "#/title", "Must not be blank."),
        ({"title": " \n"}, "#/title", "Must not be blank."),
        ({"title": "x" * 6}, "#/title", "Expected `str` of length <= 5"),
        ({"title": "a\0"}, "#/title", UNSTORABLE),
        ({"title": "\ud800"}, "#/title", UNSTORABLE),
        ({"title": "a", "extra": [{"b": ["\0"]}]}, "#/extra/0/b/0", UNSTORABLE),
        ({"title": "a", "extra": [*range(2000), "\0"]}, "#", UNSTORABLE),
        ({"title": "a", "extra": {"\ud800": 1}}, "#/extra/%3F", UNSTORABLE),
        ({"title": "a", "extra": {"a": {"\0": 1}}}, "#/extra/a/%00", UNSTORABLE),
        ({"title": "a", "a/b~é": 1}, "#/a~1b~0%C3%A9", "Unknown field."),
        ({"title": "a", "\ud800": 1}, "#/%3F", "Unknown field."),
        ({"title": "a", "authors": [{}]}, "#/authors/0/name", "Missing required field."),
        ({"title": "a", "authors": {}}, "#/authors", "Expected `array`, got `object`"),
        ({"title": "a", "tags": ["a", "bbb"]}, "#/tags/1", "Expected `str` of length <= 2"),
        ({"title": "a", "tags": [""] * 3}, "#/tags", "Expected `array` of length <= 2"),
        ({"title": "a", "ratings": {"b": "1"}}, "#/ratings/b", "Expected `int`, got `str`"),
        ({"title": "a", "counts": {"b": 1}}, "#/counts", "Expected `int`, got `str`"),
        ({"title": 1, "shelf": {"number": 1, "a": 2}}, "#/title", "Expected `str`, got `int`"),
        (
            {"title": 1, "shelf": {"type": "shelf", "number": 1}},
            "#/title",
            "Expected `str`, got `int`",
        ),
        ({"title": "a", "shelf": {"type": "b", "number": 1}}, "#/shelf/type", "Invalid value 'b'"),
        ({"title": "a", "source": {"type": "b"}}, "#/source/type", "Invalid value 'b'"),
        ({"title": "a", "source": {"type": " - at `$.b`"}}, "#/source/type", INVALID),
        ({"title": "a", "source": {"type": 1}}, "#/source/type", "Expected `str`, got `int`"),
        ({"title": "a", "source": "b"}, "#/source", "Expected `object | null`, got `str`"),
        ([], "#", "Expected `object`, got `array`"),
        ("title", "#", "Expected `object`, got `str`"),
    ],
)
async def test_an_error_is_named(
    client: httpx.AsyncClient, given: Any, pointer: str, detail: str
) -> None:
    """JSON that is invalid is 422, with the error and its JSON Pointer."""
    response = await client.post("/body", content=json.dumps(given), headers=JSON)

    assert response.status_code == 422
    assert response.json()["errors"] == [{"pointer": pointer, "detail": detail}]
    assert is_a_problem(response)


async def test_what_only_the_decoder_rejects_is_named(client: httpx.AsyncClient) -> None:
    """A number beyond a float's range is infinity to Python; the error is msgspec's."""
    content = '{"title": "a", "extra": 1e999}'
    response = await client.post("/body", content=content, headers=JSON)

    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error == {"pointer": "#", "detail": "Number out of range - at `$.extra`"}


async def test_an_escaped_backslash_is_no_escape(client: httpx.AsyncClient) -> None:
    """A backslash before u0000 is text, and text may be blank unless its type forbids it."""
    given = {"title": "\\u0000"[:5], "blurb": " ", "extra": "\\u0000"}
    response = await client.post("/body", json=given)

    assert response.json() == given


async def test_every_error_is_named(client: httpx.AsyncClient) -> None:
    """One response has all errors, those within a list or a set included."""
    given = {"titel": 1, "blurb": "x" * 6, "moods": ["a", 1, "abc"]}
    authors = [{"name": 1}, {"name": "b"}, {"nmae": "c"}]
    response = await client.post("/body", json=given | {"authors": authors})

    named = {error["pointer"] for error in response.json()["errors"]}
    assert named == {"#/title", "#/titel", "#/blurb", "#/moods/1", "#/moods/2"} | {
        "#/authors/0/name",
        "#/authors/2/name",
        "#/authors/2/nmae",
    }
    assert response.json()["detail"] == "The request body is invalid."


async def test_every_error_of_a_union_is_named(client: httpx.AsyncClient) -> None:
    """The tag says which of the Structs an object is to be compared with."""
    source = {"type": "film", "minutes": 0, "stars": [{"name": " "}], "a": 1}
    response = await client.post("/body", json={"title": "a", "source": source})

    named = [error["pointer"] for error in response.json()["errors"]]
    assert named == ["#/source/minutes", "#/source/stars/0/name", "#/source/a"]


async def test_an_error_far_down_a_list_is_an_error(client: httpx.AsyncClient) -> None:
    """Of a long list the first items are checked one by one; the rest is named as a whole."""
    response = await client.post(
        "/body", json={"title": "a", "authors": [{"name": "a"}] * 2000 + [0]}
    )

    (error,) = response.json()["errors"]
    assert error == {"pointer": "#/authors", "detail": "Expected `object`, got `int`"}


@pytest.mark.parametrize(
    "extra",
    [
        ",".join(["[" * 400 + "1" + "]" * 400] * 1200),
        ",".join(["[" + ",".join("1" * 500) + "]"] * 1000),
        ",".join(f'{{"{number}": {{"a": 0}}}}' for number in range(50_000)),
    ],
    ids=["deep", "wide", "objects"],
)
async def test_an_invalid_body_of_many_items_costs_little(
    client: httpx.AsyncClient, extra: str
) -> None:
    """It blocks the event loop while its errors are searched: not for seconds."""
    started = process_time()
    response = await client.post("/body", content=f'{{"title":[{extra}]}}', headers=JSON)

    assert process_time() - started < 1
    assert response.json()["errors"] == [
        {"pointer": "#/title", "detail": "Expected `str`, got `array`"}
    ]


async def test_a_long_name_is_not_repeated(client: httpx.AsyncClient) -> None:
    """Errors within an object of a long name are named as one: the name may be half the body."""
    given = {"title": "a", "ratings": {"é" * 9999: {"a": ["\0"] * 100}}}
    response = await client.post("/body", json=given)

    (error,) = response.json()["errors"]
    assert error["detail"] == "Expected `int`, got `object`"
    assert error["pointer"] == f"#/ratings/{'%C3%A9' * 9999}"


async def test_the_response_stays_small(client: httpx.AsyncClient) -> None:
    """A response has 100 errors at most."""
    response = await client.post("/body", json={str(number): 0 for number in range(9999)})

    assert len(response.json()["errors"]) == 100
    assert is_a_problem(response)


async def test_the_types_of_columns_are_read(client: httpx.AsyncClient) -> None:
    """Dates and times are RFC 3339, an interval is an ISO 8601 duration, a numeric is text."""
    given = {
        "day": "2025-01-02",
        "clock": "03:04:05",
        "at": "2025-01-02T03:04:05Z",
        "length": "P1DT2S",
        "price": "0.10",
        "key": "00000000-0000-0000-0000-00000000000a",
    }
    assert (await client.post("/values", json=given)).json() == given

    response = await client.post("/values", json=dict.fromkeys(given, "2025-01-02T03:04:05"))
    assert {error["pointer"][2:] for error in response.json()["errors"]} == {*given}


async def test_a_query_is_read(client: httpx.AsyncClient) -> None:
    """A parameter has its type; the last of several counts, unless it is a list or a set."""
    response = await client.get("/query?year=1983&year=1984&tag=1&tag=2&sizes=3&sizes=3")

    assert response.json() == {"year": 1984, "tag": [1, 2], "sizes": [3]}


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("since", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("length", "PT1M", "PT60S"),
        ("score", "1e1", 10.0),
        ("is_new", "true", True),
        ("is_new", "null", None),
        ("word", "null", "null"),
        ("word", "1", "1"),
        ("most", "all", "all"),
        ("most", "10", 10),
        ("price", "0.10", "0.10"),
        ("keys", "1" * 32, [str(UUID("1" * 32))]),
    ],
)
async def test_a_parameter_is_read_as_its_type(
    client: httpx.AsyncClient, name: str, given: str, value: Any
) -> None:
    """A text is taken as it is where its type takes it, else as a number, true, false or null."""
    response = await client.get("/query", params={"year": "1", name: given})

    assert response.json() == {"year": 1} | ({} if value is None else {name: value})


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("year", "1.0"),
        ("year", " 1"),
        ("year", "1e1"),
        ("since", "20260102"),
        ("since", "0.5"),
        ("length", "60"),
        ("score", "nan"),
        ("score", "-inf"),
        ("is_new", "1"),
        ("is_new", "TRUE"),
        ("is_new", "NULL"),
        ("tag", "1.0"),
    ],
)
async def test_a_parameter_is_as_described(
    client: httpx.AsyncClient, name: str, given: str
) -> None:
    """A number is no time, duration or truth value: what the description leaves out is 400."""
    response = await client.get("/query", params={"year": "1", name: given})

    assert response.status_code == 400
    assert [error["parameter"] for error in response.json()["errors"]] == [name]


async def test_every_error_of_a_query_is_named(client: httpx.AsyncClient) -> None:
    """An invalid query is 400, with each parameter that has an error."""
    response = await client.get("/query?year=3001&word=%00&wrod=a&tag=1&tag=b")

    assert response.status_code == 400
    assert (is_a_problem(response), response.json()["detail"]) == (True, "The query is invalid.")
    assert {error["parameter"]: error["detail"] for error in response.json()["errors"]} == {
        "year": "Expected `int` <= 3000",
        "word": UNSTORABLE,
        "wrod": "Unknown field.",
        "tag": "Expected `int`, got `str`",
    }


@pytest.mark.parametrize("name", ["a/b", "~1~0", "%2F", ""])
async def test_an_unknown_parameter_is_named_as_it_is(client: httpx.AsyncClient, name: str) -> None:
    """The name of a parameter is no JSON Pointer."""
    response = await client.get("/query", params={"year": "1", name: "2"})

    assert response.json()["errors"] == [{"detail": "Unknown field.", "parameter": name}]


async def test_an_error_of_the_whole_query_is_named(client: httpx.AsyncClient) -> None:
    """What a Struct's __post_init__() rejects is 400, without a parameter."""
    response = await client.get("/query?year=0&word=a")

    assert (response.status_code, is_a_problem(response)) == (400, True)
    assert response.json()["errors"] == [{"detail": "The year 0 has no words."}]


async def test_a_nul_character_in_a_list_of_a_query_is_an_error(client: httpx.AsyncClient) -> None:
    """Each value of a list counts."""
    response = await client.get("/query?year=1&names=a&names=%00&names=b")

    assert response.status_code == 400
    assert response.json()["errors"] == [{"parameter": "names", "detail": UNSTORABLE}]


async def test_an_error_far_down_a_query_is_an_error(client: httpx.AsyncClient) -> None:
    """Of a long list the first items are checked one by one: without a name it is 400 as well."""
    response = await client.get("/query?year=1" + "&names=a" * 2000 + "&names=%00")

    assert (response.status_code, is_a_problem(response)) == (400, True)
    assert "errors" not in response.json()


@pytest.mark.parametrize(("given", "status"), [("%00", 400), ("%2500", 200)])
async def test_a_nul_character_in_a_query_is_an_error(
    client: httpx.AsyncClient, given: str, status: int
) -> None:
    """PostgreSQL's text cannot hold it."""
    response = await client.get(f"/query?year=1&word={given}")

    assert response.status_code == status
    errors = [{"parameter": "word", "detail": UNSTORABLE}] if status == 400 else None
    assert response.json().get("errors") == errors


@pytest.mark.parametrize(("given", "status"), [("a%00", 404), ("%2500", 200)])
async def test_a_nul_character_in_a_path_is_not_found(
    client: httpx.AsyncClient, given: str, status: int
) -> None:
    """No row can have such a name."""
    assert (await client.get(f"/names/{given}")).status_code == status


@pytest.mark.parametrize("given", ["1", str(2**63 - 1)])
async def test_a_path_is_read(client: httpx.AsyncClient, given: str) -> None:
    """A path parameter has its type."""
    assert (await client.get(f"/books/{given}")).json() == {"book_id": int(given)}


async def test_a_path_that_starlette_has_converted_is_read(client: httpx.AsyncClient) -> None:
    """A route may be `{book_id:int}`, as Starlette's documentation has it."""
    assert (await client.get("/numbers/12")).json() == {"book_id": 12}
    assert (await client.get("/numbers/0")).status_code == 404


async def test_a_renamed_path_parameter_is_read(client: httpx.AsyncClient) -> None:
    """The path has the names of JSON, as the query and the body have."""
    assert (await client.get("/chapters/12")).json() == {"chapterId": 12}
    assert (await client.get("/chapters/12.0")).status_code == 404


async def test_a_time_in_a_path_is_read(client: httpx.AsyncClient) -> None:
    """A number has one spelling, a time may have several."""
    for day in ("2026-11-27T01:02:03Z", "2026-11-27t01:02:03.000z"):
        assert (await client.get(f"/days/{day}")).json() == {"day": "2026-11-27T01:02:03Z"}
    assert (await client.get("/days/20261127")).status_code == 404


@pytest.mark.parametrize(
    "given", ["0", "-1", "a", "%00", "1%00", str(2**63), "9" * 5000, "1.0", "1e1", "%201"]
)
async def test_an_invalid_path_is_not_found(client: httpx.AsyncClient, given: str) -> None:
    """An id that no row can have is 404, as one that no row has."""
    response = await client.get(f"/books/{given}")

    assert (response.status_code, is_a_problem(response)) == (404, True)
