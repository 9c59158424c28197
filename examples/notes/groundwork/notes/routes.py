"""Notes over HTTP: requests to services, results to status codes."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from groundwork.core import http
from groundwork.core.state import State
from groundwork.core.structs import IdPath
from groundwork.notes.services import CREATE, DELETE, GET, LIST, UPDATE, NewNote, Note, NoteChanges

TAKEN = {"note_title_key": "Another note has this title."}


@http.operation({200: http.Page[Note]}, query=http.Paging)
async def list_notes(request: Request[State]) -> Response:
    """List notes, the newest first."""
    paging = http.read_query(request, http.Paging)
    notes = await LIST.all(request.state["pool"], paging.before, paging.limit)
    return http.Json(http.page(request, notes, paging.limit))


@http.operation({201: Note}, body=NewNote, headers={"Location": "/notes/[0-9]+"}, errors=(409,))
async def create_note(request: Request[State]) -> Response:
    """Create a note."""
    new = await http.read_json(request, NewNote)
    with http.conflict(**TAKEN):
        note = await CREATE.one(request.state["pool"], new.title, new.body)
    return http.Json(note, 201, {"Location": f"/notes/{note.id}"})


@http.operation({200: Note}, path=IdPath)
async def get_note(request: Request[State]) -> Response:
    """Return a note."""
    note = await GET.first(request.state["pool"], http.read_path(request, IdPath).id)
    return http.Json(http.found(note))


@http.operation({200: Note}, path=IdPath, body=NoteChanges, errors=(409,))
async def update_note(request: Request[State]) -> Response:
    """Change a note; the fields left out stay."""
    path, changes = http.read_path(request, IdPath), await http.read_json(request, NoteChanges)
    with http.conflict(**TAKEN):
        note = await UPDATE.first(request.state["pool"], path.id, changes)
    return http.Json(http.found(note))


@http.operation({204: None}, path=IdPath)
async def delete_note(request: Request[State]) -> Response:
    """Delete a note."""
    http.found(await DELETE.first(request.state["pool"], http.read_path(request, IdPath).id))
    return Response(status_code=204)


routes = [
    Route("/notes", list_notes),
    Route("/notes", create_note, methods=["POST"]),
    Route("/notes/{id}", get_note),
    Route("/notes/{id}", update_note, methods=["PATCH"]),
    Route("/notes/{id}", delete_note, methods=["DELETE"]),
]
