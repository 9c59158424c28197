"""Routes, those within a Mount or a Host included."""

from collections.abc import Iterable, Iterator

from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope


def flatten(routes: Iterable[BaseRoute], prefix: str = "") -> Iterator[tuple[str, Route]]:
    """Yield each Route with its whole path template: /api/notes/{id}."""
    for route in routes:
        if isinstance(route, Route):
            yield prefix + route.path_format, route
        else:
            # A Mount's ends with what is left for its routes; a Host has none.
            own = getattr(route, "path_format", "").removesuffix("/{path}")
            yield from flatten(getattr(route, "routes", ()), prefix + own)


def methods_of(routes: Iterable[BaseRoute], scope: Scope) -> set[str]:
    """Return the methods of every Route that has the path of a request."""
    methods: set[str] = set()
    for route in routes:
        match, child = route.matches(scope)
        if match is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
            methods |= methods_of(getattr(route, "routes", ()), {**scope, **child})
    return methods
