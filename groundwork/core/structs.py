"""The base of request Structs, and what is common to the types of requests, rows and responses."""

from datetime import datetime
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from msgspec import Meta, Raw, Struct, UnsetType

MAX_ID = 2**63 - 1  # bigint's
Id = Annotated[int, Meta(ge=1, le=MAX_ID)]
DateTime = Annotated[datetime, Meta(tz=True)]
NOT_BLANK = r"^\s*[^\s\x00][^\x00]*$"
NotBlank = Annotated[str, Meta(pattern=NOT_BLANK)]


class Input(Struct, forbid_unknown_fields=True):
    """A request's JSON body, its query or its path parameters; unknown fields are errors."""


class IdPath(Input):
    """The path parameters of a resource: /notes/{id}."""

    id: Id


def bare_type(kind: Any) -> Any:
    """Return a type without alias, NewType and constraints, and without None where optional."""
    if inner := getattr(kind, "__value__", getattr(kind, "__supertype__", None)):
        return bare_type(inner)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return bare_type(arguments[0])
    given = [one for one in arguments if one not in {NoneType, UnsetType}]
    return bare_type(given[0]) if origin in {Union, UnionType} and len(given) == 1 else kind


def is_json(kind: Any) -> bool:
    """Return whether a type is json: a Struct, a dict, msgspec.Raw, a list or a union of them."""
    bare = bare_type(kind)
    if get_origin(bare) in {list, Union, UnionType}:
        return all(is_json(one) for one in get_args(bare) if one is not NoneType)
    bare = get_origin(bare) or bare
    return isinstance(bare, type) and issubclass(bare, dict | Struct | Raw)


def form_of(value: Any, kind: Any) -> Any:
    """Return the bare type of a JSON value: of a union, the Struct that has the value's tag."""
    kind = bare_type(kind)
    if isinstance(value, dict) and get_origin(kind) in {Union, UnionType}:
        for one in map(bare_type, get_args(kind)):
            config = getattr(one, "__struct_config__", None)
            if config and value.get(config.tag_field) == config.tag:
                return one
    return kind
