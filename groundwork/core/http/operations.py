"""What a handler takes and returns, declared beside it for the API description."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from msgspec import Struct

from groundwork.core.http.receiving import MAX_BODY_BYTES
from groundwork.core.structs import Input


class operation(Struct, frozen=True):  # noqa: N801 - a decorator
    """Declare what a handler takes and returns. It injects nothing, and checks only the size.

    The handler's docstring has the summary and the description.

    Args:
        returns: by status code the type of the JSON, another media type, or None.
        path, query, body: what the handler reads; an Input by read_path() and so on. A body that
            is not JSON, such as a file, is a media type.
        max_body_size: a larger body is 413.
        headers: of these responses, as regular expressions; one that may be empty is optional.
        errors: status codes of problem details, beside those that follow from the rest.
        guarded: the handler calls require_ops_token().
        security: the names of the security schemes, in common.toml, that the handler requires.
        database: the handler returns 503 while the database is unavailable.
    """

    returns: Mapping[int, Any]
    path: type[Struct] | None = None
    query: type[Struct] | None = None
    body: type[Struct] | str | None = None
    max_body_size: int = MAX_BODY_BYTES
    headers: Mapping[str, str] = {}
    errors: Collection[int] = ()
    guarded: bool = False
    security: Collection[str] = ()
    database: bool = True

    def __call__[H: Callable[..., Any]](self, handler: H) -> H:
        """Attach this to the handler."""
        vars(handler)["operation"] = self
        return handler

    @property
    def problems(self) -> set[int]:
        """Return the status codes of all problem details that the handler may return."""
        return {
            *(405, 500, *self.errors),
            *((413,) if self.body else ()),
            *((400, 415, 422) if isinstance(self.body, type) else ()),
            *((400,) if self.query and issubclass(self.query, Input) else ()),
            *((404,) if self.path else ()),
            *((401, 404) if self.guarded else ()),
            *((401,) if self.security else ()),
            *((503,) if self.database else ()),
        } - self.returns.keys()
