"""Routes, those that a Mount holds included."""

from collections.abc import Iterable, Iterator

from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import Scope


def flatten(routes: Iterable[BaseRoute], prefix: str = "") -> Iterator[tuple[str, Route]]:
    """Yield each Route with its whole path template: /api/notes/{id}."""
    for route in routes:
        if isinstance(route, Route):
            yield prefix + route.path_format, route
        elif isinstance(route, Mount):
            yield from flatten(route.routes, prefix + route.path)


def methods_of(routes: Iterable[BaseRoute], scope: Scope) -> set[str]:
    """Return the methods of every Route that has the path of a request."""
    methods: set[str] = set()
    for route in routes:
        match, child = route.matches(scope)
        if match is not Match.NONE and isinstance(route, Route):
            methods |= route.methods or set()
        elif match is not Match.NONE and isinstance(route, Mount):
            methods |= methods_of(route.routes, {**scope, **child})
    return methods
