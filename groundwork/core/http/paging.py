"""Lists by the page, the newest first: by id rather than by number, so that no page slips."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from marshmallow import Schema, fields, validate
from starlette.requests import Request

_MAX_ID = 2**63 - 1  # bigint's


class Paging(Schema):
    """The query of a list: so many at most, of those before this id."""

    limit = fields.Integer(load_default=20, validate=validate.Range(1, 100))
    before = fields.Integer(load_default=_MAX_ID, validate=validate.Range(1, _MAX_ID))


def page(request: Request[Any], rows: Sequence[dict[str, Any]], limit: int) -> dict[str, Any]:
    """Return `items`, and as `next` the address of those that follow, or None.

    The rows are one more than the limit where there are as many: LIMIT $2 + 1.
    """
    items, following = rows[:limit], None
    if len(rows) > limit:
        query = dict(request.query_params) | {"before": items[-1]["id"]}
        following = f"{quote(request.scope['path'])}?{urlencode(query)}"
    return {"items": items, "next": following}
