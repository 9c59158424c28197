"""Routes, those within a Mount or a Host included, and how to find one without trying each."""

from collections.abc import Iterable, Iterator

from starlette.convertors import FloatConvertor, IntegerConvertor, StringConvertor, UUIDConvertor
from starlette.routing import BaseRoute, Match, Route, Router
from starlette.types import Scope

_SEGMENTS = (StringConvertor, IntegerConvertor, FloatConvertor, UUIDConvertor)  # no slash in them

type _Shape = tuple[str, int, str]  # method, number of slashes, first segment


def shape_of(scope: Scope) -> _Shape:
    """Return what a request has in common with the few routes that it may be for."""
    path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
    return _shape(scope.get("method", ""), path)


def routers(whole: Router) -> dict[_Shape, Router]:
    """Return a router for each shape: its routes, and those that may have any, in their order.

    Starlette tries one route after another; a hundred in vain take a fifth of a small request.
    What none of the few matches is for the whole router: another method of the path may exist.
    """
    shapes = [(route, _shapes(route)) for route in whole.routes]
    return {
        one: Router([route for route, own in shapes if one in own or not own], False, whole)  # noqa: FBT003
        for one in set().union(*(own for _, own in shapes))
    }


def _shapes(route: BaseRoute) -> set[_Shape]:
    """Return the shapes of a route's requests; none if they may have any."""
    if not isinstance(route, Route):
        return set()
    shapes = {_shape(method, route.path) for method in route.methods or ()}
    is_fixed = all(type(one) in _SEGMENTS for one in route.param_convertors.values())
    return {one for one in shapes if is_fixed and "{" not in one[2]}


def _shape(method: str, path: str) -> _Shape:
    return method, path.count("/"), path[1:].partition("/")[0]


def flatten(routes: Iterable[BaseRoute], prefix: str = "") -> Iterator[tuple[str, Route]]:
    """Yield each Route with its whole path template: /api/notes/{id}."""
    for route in routes:
        if isinstance(route, Route):
            yield prefix + route.path_format, route
        else:
            # A Mount's ends with what is left for its routes; a Host has none.
            own = getattr(route, "path_format", "").removesuffix("/{path}")
            yield from flatten(getattr(route, "routes", ()), prefix + own)


def methods_of(routes: Iterable[BaseRoute], scope: Scope) -> Iterator[str]:
    """Yield the methods of every Route that has the path of a request."""
    for route in routes:
        match, child = route.matches(scope)
        if match is not Match.NONE:
            yield from getattr(route, "methods", None) or ()
            yield from methods_of(getattr(route, "routes", ()), {**scope, **child})
