"""Notes in the database: results, no HTTP."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from groundwork.core.database.queries import Query
from groundwork.core.structs import DateTime, Input, NotBlank

Title = Annotated[NotBlank, Meta(max_length=200)]
Body = Annotated[str, Meta(max_length=20_000)]


class NewNote(Input):
    """A note to create."""

    title: Title
    body: Body = ""


class NoteChanges(Input):
    """The fields of a note to change; those left out stay."""

    title: Title | UnsetType = UNSET
    body: Body | UnsetType = UNSET


class Note(Struct):
    """A note."""

    id: int
    title: str
    body: str
    created_at: DateTime
    updated_at: DateTime


LIST = Query[Note, int, int]("notes/list")
GET = Query[Note, int]("notes/get")
CREATE = Query[Note, str, str]("notes/create")
UPDATE = Query[Note, int, NoteChanges]("notes/update")
DELETE = Query[int, int]("notes/delete")
