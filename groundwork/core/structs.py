"""The base of request Structs, and the types that their fields commonly have."""

from typing import Annotated

from msgspec import Meta, Struct

MAX_ID = 2**63 - 1  # bigint's
Id = Annotated[int, Meta(ge=1, le=MAX_ID)]
NotBlank = Annotated[str, Meta(pattern=r"\S")]


class Input(Struct, forbid_unknown_fields=True):
    """A request's JSON body, its query or its path parameters; unknown fields are errors."""
