"""Lists in pages, from a row on rather than by number: new rows shift no page."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from msgspec import Meta, Struct, field, to_builtins
from starlette.requests import Request

from groundwork.core.http.responses import URI
from groundwork.core.structs import MAX_ID, Id, Input

_NEXT = Meta(description="The URL of the next page; null on the last.", extra_json_schema=URI)


class Paging(Input, kw_only=True):  # a subclass may have required fields
    """The query parameters of a list."""

    limit: Annotated[int, Meta(ge=1, le=100, description="Items per page at most.")] = 20
    before: Annotated[Id, Meta(description="Items before this id; `next` has it.")] = field(
        default_factory=lambda: MAX_ID
    )


class Page[T](Struct):
    """A page of a list."""

    items: Annotated[list[T], Meta(max_length=100)]
    next: Annotated[str | None, _NEXT]


def _by_id(row: Any) -> dict[str, int]:
    return {"before": row.id}


def page[T](
    request: Request[Any],
    rows: list[T],
    limit: int,
    cursor: Callable[[T], Mapping[str, object]] = _by_id,
) -> Page[T]:
    """Return a page of rows, of which there is one more than the limit if a page follows.

    In another order than by id, the cursor returns the query parameters of what follows a row.
    """
    if len(rows) <= limit:
        return Page(rows, None)
    after = to_builtins(cursor(rows[limit - 1]))  # times as JSON has them
    given = request.query_params.multi_items() if request.scope["query_string"] else ()
    pairs = [*(one for one in given if one[0] not in after), *after.items()]
    query = urlencode([one for one in pairs if one[1] is not None])
    return Page(rows[:limit], f"{quote(request.scope['path'])}?{query}")
