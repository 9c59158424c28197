"""Requests, responses and handlers that differ from the API description fail their test."""

import enum
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, cast

import httpx
import pytest
from msgspec import Meta, Struct, defstruct
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from groundwork.core.http.operations import operation
from groundwork.core.http.paging import Page
from groundwork.core.http.problems import Invalid
from groundwork.core.http.responses import InvalidPart, Json
from groundwork.core.http.validation import read_json, read_path, read_query
from groundwork.core.structs import MAX_ID, NOT_BLANK, Id, Input, NotBlank
from groundwork.openapi.describe import describe
from groundwork.openapi.page import render
from tests.openapi import description

Text = Annotated[str, Meta(max_length=5)]


class Box(Input):
    """A request body."""

    name: Text


class Crate(Input):
    """A request body with another name for its field."""

    title: Text


class Range(Input):
    """A query, or a part of a body, whose fields have to do with each other."""

    first: Id
    last: Id

    def __post_init__(self) -> None:
        """Reject what is valid by itself."""
        if self.last < self.first:
            message = "The range is empty."
            raise ValueError(message)


class Ranges(Input):
    """A request body of several."""

    ranges: list[Range]


class Narrow(Input):
    """A request body whose description has another limit than its type."""

    name: Annotated[str, Meta(extra_json_schema={"maxLength": 3})]


class Filter(Input):
    """A query."""

    size: Annotated[int, Meta(ge=1)] = 1
    colour: str | None = None
    tags: list[str] | None = None
    weight: Decimal | None = None


class Paged(Input):
    """A query with a number that is too large for a column."""

    page: Annotated[int, Meta(ge=1)] = 1


class Colour(enum.Enum):
    """What a query may have."""

    RED = "red"
    BLUE = "blue"


class BoxPath(Input):
    """A path."""

    box_id: Id


class Row(Struct):
    """A response."""

    id: int


class Wide(Row):
    """A response with one field more."""

    size: int


async def create(request: Request) -> Json:
    """Create a box."""
    await read_json(request, Box)
    return Json(Row(1), 201)


async def narrow(request: Request) -> Json:
    """Create a box."""
    await read_json(request, Narrow)
    return Json(Row(1), 201)


async def reject(request: Request) -> Json:
    """Reject a box that is valid."""
    await read_json(request, Box)
    raise Invalid(422, "Invalid.", [InvalidPart("Taken.", pointer="#/name")])


async def upload(request: Request) -> Json:
    """Store a file."""
    return Json(Row(len(await request.body())), 201)


async def read(request: Request) -> Json:
    """Read a box."""
    read_query(request, Filter)
    return Json(Row(1), headers={"X-Total-Count": "1"})


async def scan(request: Request) -> Json:
    """Read a range that is required."""
    read_query(request, Range)
    return Json(Row(1))


async def mark(request: Request) -> Json:
    """Read a range, in the query and in the body."""
    read_query(request, Range)
    await read_json(request, Ranges)
    return Json(Row(1), 201)


async def peek(request: Request) -> Json:
    """Read a parameter without declaring it."""
    return Json(Row(int(request.query_params["size"])))


async def get(request: Request) -> Json:
    """Return a box."""
    return Json(Row(read_path(request, BoxPath).box_id))


async def wide(_: Request) -> Json:
    """Return one field more than declared."""
    return Json(Wide(1, 2))


async def stream(_: Request[Any]) -> Response:
    """Return a body of unknown length, with the header that the server adds."""
    return Response(b"a,b", 200, {"Transfer-Encoding": "chunked"}, "text/csv")


async def retry(_: Request[Any]) -> Response:
    """Show a form again, with what is wrong."""
    return Response("<form>", 422, media_type="text/html")


async def teapot(_: Request) -> Json:
    """Return a status that is not declared."""
    raise HTTPException(418)


ROW, CREATED = {200: Row}, {201: Row}


@pytest.fixture
def client_of(
    app: Starlette, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., httpx.AsyncClient]:
    """Return a function that serves one handler, described by one operation."""

    def client_of(handler: Any, declared: operation, path: str) -> httpx.AsyncClient:
        methods = ["POST"] if 201 in declared.returns else ["GET"]
        routes = [Route(path, declared(handler), methods=methods)]
        app.router.routes += routes
        document = describe("Boxes", routes)
        monkeypatch.setattr(description, "ROUTES", routes)
        monkeypatch.setattr(description, "DESCRIPTION", document)
        monkeypatch.setattr(description, "PATHS", document["paths"])
        return client

    return client_of


@pytest.mark.parametrize(
    ("handler", "declared", "body", "differences"),
    [
        (create, operation(CREATED, body=Box), {"name": "12345"}, []),
        (create, operation(CREATED, body=Box), {"name": "123456"}, []),
        (create, operation(CREATED, body=Box), {"nmae": "1"}, []),
        (
            narrow,
            operation(CREATED, body=Narrow),
            {"name": "1234"},
            ["the request body: name: '1234' is too long"],
        ),
        (
            create,
            operation(CREATED, body=Crate),
            {"name": "1"},
            [
                "the request body: 'title' is a required property",
                "the request body: Additional properties are not allowed ('name' was unexpected)",
                "the handler reads Box, which is not described",
                "Crate is described, but the handler does not read it",
            ],
        ),
        (
            create,
            operation(CREATED),
            {"name": "1"},
            [
                "the request body is not described",
                "the handler reads Box, which is not described",
            ],
        ),
        (
            reject,
            operation(CREATED, body=Box),
            {"name": "1"},
            ["the request is as described, but rejected: #/name: Taken."],
        ),
    ],
)
async def test_a_body(
    client_of: Callable[..., httpx.AsyncClient],
    handler: Any,
    declared: operation,
    body: Any,
    differences: list[str],
) -> None:
    """Another type, another limit, no body at all, a rejection: each difference is named."""
    client = client_of(handler, declared, "/boxes")

    assert await _differences(client.post("/boxes", json=body)) == differences


async def test_a_file(client_of: Callable[..., httpx.AsyncClient]) -> None:
    """A body that is not JSON has its media type, a type if it is text, no errors of JSON."""
    client = client_of(upload, operation(CREATED | {200: "text/csv"}, body="image/*"), "/boxes")

    assert await _differences(client.post("/boxes", content=b"\xff")) == []
    described = description.PATHS["/boxes"]["post"]
    assert described["requestBody"]["content"] == {"image/*": {"schema": {}}}
    assert described["responses"]["200"]["content"] == {"text/csv": {"schema": {"type": "string"}}}
    assert not described["responses"].keys() & {"400", "415", "422"}


@pytest.mark.parametrize("ranges", [("2", "1"), ("1", "2")])
async def test_fields_that_contradict_each_other(
    client_of: Callable[..., httpx.AsyncClient], ranges: tuple[str, str]
) -> None:
    """What __post_init__() rejects, in the query or within the body, is no difference."""
    client = client_of(mark, operation(CREATED, body=Ranges, query=Range), "/boxes")
    body = {"ranges": [{"first": 2, "last": 1}]}

    query = dict(zip(("first", "last"), ranges, strict=True))
    assert await _differences(client.post("/boxes", params=query, json=body)) == []


@pytest.mark.parametrize(
    ("handler", "declared", "url", "differences"),
    [
        (
            read,
            operation(ROW, query=Filter, headers={"X-Total-Count": "[0-9]+"}),
            "?size=2&weight=1",
            [],
        ),
        (
            read,
            operation(ROW, query=Filter, headers={"X-Total-Count": "[0-9]+"}),
            "?colour=2024&tags=1&tags=null",
            [],
        ),
        (
            read,
            operation(ROW, query=Filter),
            "?size=2&colour=red",
            ["the header x-total-count is not described"],
        ),
        (
            peek,
            operation(ROW, query=Filter),
            "?size=0",
            [
                "the query parameter size: 0 is less than the minimum of 1",
                "Filter is described, but the handler does not read it",
            ],
        ),
        (
            peek,
            operation(ROW, query=Filter),
            "?size=%2B2",
            [
                "the query parameter size: '+2' is not of type 'integer'",
                "Filter is described, but the handler does not read it",
            ],
        ),
        (peek, operation(ROW), "?size=2", ["the query parameter size is not described"]),
        (scan, operation(ROW, query=Range), "?last=2", []),
        (get, operation(ROW, path=BoxPath), "/1", []),
        (get, operation(ROW), "/1", ["the handler reads BoxPath, which is not described"]),
        (
            wide,
            operation(ROW),
            "",
            ["the response body: Additional properties are not allowed ('size' was unexpected)"],
        ),
        (
            wide,
            operation({200: "text/html"}),
            "",
            ["the media type 'application/json' is not described"],
        ),
        (teapot, operation(ROW), "", ["the status 418 is not described"]),
        (retry, operation({422: "text/html"}), "", []),
        (stream, operation({200: "text/csv"}), "", []),
    ],
)
async def test_a_request_and_its_response(
    client_of: Callable[..., httpx.AsyncClient],
    handler: Any,
    declared: operation,
    url: str,
    differences: list[str],
) -> None:
    """A parameter, header, status or field that is not as described is named."""
    client = client_of(handler, declared, "/boxes/{box_id}" if "/" in url else "/boxes")

    assert await _differences(client.get(f"/boxes{url}")) == differences


def test_lists_of_two_structs_with_one_name() -> None:
    """Where two features give their rows one name, the error says which and what to do."""
    page, handlers = cast("Any", Page), {"a": read, "b": wide}
    routes = [
        Route(f"/{name}", operation({200: page[defstruct("Row", [], module=name)]})(handler))
        for name, handler in handlers.items()
    ]

    with pytest.raises(KeyError, match=r"Page\[[ab]\.Row\]\n.*: rename one"):
        description.described(routes)


async def test_one_route_of_several(
    app: Starlette, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response is compared with the route that served it, not with others of the path."""
    routes = [
        Route("/boxes/largest", operation({200: Wide})(wide)),
        Route("/boxes/{box_id}", operation(ROW, path=BoxPath)(get)),
    ]
    app.router.routes += routes
    document = describe("Boxes", routes)
    monkeypatch.setattr(description, "ROUTES", routes)
    monkeypatch.setattr(description, "DESCRIPTION", document)
    monkeypatch.setattr(description, "PATHS", document["paths"])

    assert await _differences(client.get("/boxes/largest")) == []
    assert await _differences(client.get("/boxes/1")) == []


def test_a_login_is_described() -> None:
    """A route that requires one has its scheme, 401, and no URL that anybody may request."""
    declared = operation({200: None}, security=("bearer",))
    document = describe("Boxes", [Route("/box", declared(lambda _: Response()))])
    described = document["paths"]["/box"]["get"]

    assert described["security"] == [{"bearer": []}]
    assert "401" in described["responses"]
    assert "OPS_TOKEN" in render(document)


@pytest.mark.parametrize(
    "described",
    [
        {"security": [{"bearer": []}], "responses": {"200": {}}},
        {"responses": {"303": {"content": {}}}},
        {"responses": {"200": {"content": {"text/event-stream": {}}}}},
        {"responses": {"200": {"content": {"text/event-stream; charset=utf-8": {}}}}},
        {
            "parameters": [{"name": "id", "in": "path", "schema": {"type": "integer"}}],
            "responses": {"200": {}},
        },
        {
            "parameters": [{"name": "q", "in": "query", "required": True}],
            "responses": {"200": {}},
        },
    ],
)
def test_not_every_url_is_for_everybody(
    monkeypatch: pytest.MonkeyPatch, described: dict[str, Any]
) -> None:
    """The tests of all routes leave out what needs a user, a row or a query; redirects; streams."""
    monkeypatch.setitem(description.PATHS, "/boxes/{id}", {"get": described})

    assert description.urls("/boxes/{id}") == []


def test_a_docstring_is_summary_and_description() -> None:
    """The first line is the summary, without its full stop; what is raised is not described."""

    def open_box(_: Request) -> Response:
        """Open a box.

        It stays `open`
        for an hour.

        Raises:
            KeyError: it is locked.
        """
        return Response()

    entry = describe("Boxes", [Route("/box", operation({204: None})(open_box))])["paths"]["/box"]

    words = [entry["get"][key] for key in ("operationId", "summary", "description")]
    assert words == ["open_box", "Open a box", "It stays `open`\nfor an hour."]


def test_any_error_is_described() -> None:
    """A status that the common texts do not have is described by its phrase, if it has one."""
    given = operation({299: None}, errors=(415, 418, 499))
    route = Route("/box", given(lambda _: Response()))

    document = describe("Boxes", [route])

    texts = {key: one["description"] for key, one in document["components"]["responses"].items()}
    assert (texts["418"], texts["499"]) == ("I'm a Teapot.", "499.")
    assert texts["415"] == "The body must be application/json."
    assert "m a Teapot." in render(document)


def test_an_operation_has_the_tag_of_its_feature() -> None:
    """The tag is the folder of the handler's module."""
    route = Route("/box", operation({204: None})(lambda _: Response()))

    assert describe("Boxes", [route])["paths"]["/box"]["get"]["tags"] == ["openapi"]


def test_a_route_may_have_no_description() -> None:
    """A page of a feature, or what a library brings, is no part of the API."""
    assert describe("Boxes", [Route("/box", lambda _: Response())])["paths"] == {}


def test_the_token_of_operators_may_come_in_two_ways() -> None:
    """It is a Bearer token or Basic's password, and in development none is needed."""
    described = description.PATHS["/health/details"]["get"]

    assert described["security"] == [{"bearer": []}, {"basic": []}, {}]


def test_a_body_is_required() -> None:
    """A request without the body that is described is invalid."""
    route = Route("/box", operation({204: None}, body=Box)(lambda _: Response()), methods=["POST"])

    assert describe("Boxes", [route])["paths"]["/box"]["post"]["requestBody"]["required"] is True


def test_path_parameters_are_described() -> None:
    """A path parameter is required, and has the limits of its type."""
    route = Route("/box/{box_id}", operation({204: None}, path=BoxPath)(lambda _: Response()))
    parameter = describe("Boxes", [route])["paths"]["/box/{box_id}"]["get"]["parameters"][-1]

    assert (parameter["name"], parameter["in"], parameter["required"]) == ("box_id", "path", True)
    assert parameter["schema"]["maximum"] == MAX_ID


def test_query_parameters_are_described() -> None:
    """A query parameter has its description beside its schema, and its text has no NUL."""
    word = Annotated[str, Meta(description="A word.")]
    query = defstruct("Words", [("word", word)], bases=(Input,))
    route = Route("/box", operation({204: None}, query=query)(lambda _: Response()))

    parameter = describe("Boxes", [route])["paths"]["/box"]["get"]["parameters"][-1]

    assert parameter.pop("schema") == {"type": "string", "pattern": r"^[^\x00]*$"}
    assert parameter == {"name": "word", "in": "query", "required": True, "description": "A word."}


@pytest.mark.parametrize("place", ["path", "query"])
def test_the_enum_of_a_parameter_is_described(place: str) -> None:
    """The values of an Enum that only a parameter has are a schema, as those of a body's are."""
    parts: Any = {place: defstruct("Colours", [("colours", list[Colour], [])], bases=(Input,))}
    document = describe(
        "Boxes", [Route("/box", operation({204: None}, **parts)(lambda _: Response()))]
    )

    parameter = document["paths"]["/box"]["get"]["parameters"][-1]
    assert parameter["schema"]["items"] == {"$ref": "#/components/schemas/Colour"}
    assert document["components"]["schemas"]["Colour"]["enum"] == ["blue", "red"]
    assert "Colours" not in document["components"]["schemas"]


def test_headers_are_described() -> None:
    """A header is required, unless it may be empty."""
    patterns = {"Location": "/.+", "Link": "(<.+>)?"}
    route = Route("/box", operation({204: None}, headers=patterns)(lambda _: Response()))

    one = describe("Boxes", [route])["paths"]["/box"]["get"]["responses"]["204"]["headers"]

    assert (one["Location"]["required"], one["Link"]["required"]) == (True, False)
    assert one["Location"]["schema"] == {"type": "string", "pattern": "^/.+$"}


def test_an_integer_without_limits_is_found() -> None:
    """It is named, in a body, within it, and in a query."""
    depth = Annotated[int, Meta(ge=0, lt=9)]
    inner = defstruct("Inner", [("wide", list[int]), ("id", Id), ("deep", depth)], bases=(Input,))
    body = defstruct("Box", [("inner", inner), ("high", int | None, None)], bases=(Input,))
    declared = operation({204: None}, query=Paged, body=body)
    route = Route("/box", declared(lambda _: Response()), methods=["POST"])

    found = description.unlimited(describe("Boxes", [route]))

    assert found == [f"POST /box: {name}" for name in ("page", "wide", "high")]


def test_features_share_a_name() -> None:
    """The Structs of two features may have the same name, and a body keeps its limits."""
    inner = defstruct("Inner", [("text", str)], bases=(Input,))
    body = defstruct("Box", [("inner", inner)], bases=(Input,), module="one")
    other = defstruct("Box", [("text", str)], module="two")
    routes = [
        Route("/one", operation({204: None}, body=body)(lambda _: Response()), methods=["POST"]),
        Route("/two", operation({200: other})(lambda _: Response())),
    ]

    schemas = describe("Boxes", routes)["components"]["schemas"]

    assert schemas.keys() >= {"one.Box", "two.Box"}
    assert schemas["Inner"]["properties"]["text"] == {"type": "string", "pattern": r"^[^\x00]*$"}
    assert schemas["two.Box"]["properties"]["text"] == {"type": "string"}


def test_a_text_of_a_request_has_no_nul() -> None:
    """The pattern says so, unless the type has a pattern of its own, or values that are no text."""
    kinds = {"text": str, "title": NotBlank, "day": date, "colour": Literal["red", "blue"]}
    body = defstruct("Box", [*kinds.items()], bases=(Input,))
    route = Route("/box", operation({204: None}, body=body)(lambda _: Response()), methods=["POST"])

    properties = describe("Boxes", [route])["components"]["schemas"]["Box"]["properties"]

    patterns = [one.get("pattern") for one in properties.values()]
    assert patterns == [r"^[^\x00]*$", NOT_BLANK, None, None]


def test_a_description_is_not_indented() -> None:
    """A docstring of several lines is text, in which four spaces would begin a code block."""
    namespace = {"__doc__": "A box.\n\n    It is closed.\n    "}
    box = defstruct("Box", [("id", Id)], namespace=namespace)

    document = describe("Boxes", [Route("/box", operation({200: box})(lambda _: Response()))])

    assert document["components"]["schemas"]["Box"]["description"] == "A box.\n\nIt is closed."


async def _differences(request: Any) -> list[str]:
    try:
        await request
    except AssertionError as error:
        return str(error).split("\n- ")[1:]
    return []
