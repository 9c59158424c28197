"""Lists in pages, the newest first, by id rather than by number: new rows shift no page."""

from typing import Annotated, Any, Protocol
from urllib.parse import quote, urlencode

from msgspec import Meta, Struct, field
from starlette.requests import Request

from groundwork.core.structs import MAX_ID, Id, Input


class Paging(Input):
    """The query parameters of a list."""

    limit: Annotated[int, Meta(ge=1, le=100, description="Items per page at most.")] = 20
    before: Annotated[Id, Meta(description="Items before this id; `next` has it.")] = field(
        default_factory=lambda: MAX_ID
    )


class Page[T](Struct):
    """A page of a list."""

    items: Annotated[list[T], Meta(max_length=100)]
    next: Annotated[
        str | None,
        Meta(
            description="The URL of the next page; null on the last.",
            extra_json_schema={"format": "uri-reference"},
        ),
    ]


class _Row(Protocol):
    @property
    def id(self) -> int: ...


def page[T: _Row](request: Request[Any], rows: list[T], limit: int) -> Page[T]:
    """Return a page of rows, of which there is one more than the limit if a page follows."""
    if len(rows) <= limit:
        return Page(rows, None)
    last = rows[limit - 1].id
    query = f"before={last}"
    if request.scope["query_string"]:
        given = [one for one in request.query_params.multi_items() if one[0] != "before"]
        query = urlencode([*given, ("before", last)])
    return Page(rows[:limit], f"{quote(request.scope['path'])}?{query}")
