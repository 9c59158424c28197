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
            yield from flatten(_within(route), prefix + getattr(route, "path", ""))


def methods_of(routes: Iterable[BaseRoute], scope: Scope) -> set[str]:
    """Return the methods of every Route that has the path of a request."""
    methods: set[str] = set()
    for route in routes:
        match, child = route.matches(scope)
        if match is Match.NONE:
            continue
        if isinstance(route, Route):
            methods |= route.methods or set()
        else:
            methods |= methods_of(_within(route), {**scope, **child})
    return methods


def _within(group: BaseRoute) -> Iterable[BaseRoute]:
    return getattr(group, "routes", ())
