from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query
from sqlalchemy.ext.asyncio import AsyncSession

from groundwork.core.database import get_db
from groundwork.notes.schemas import NoteCreate, NotePage, NoteRead
from groundwork.notes.services import NoteService

router = APIRouter()
MAX_ID = 2**63 - 1

@router.get("", response_model=NotePage)
async def list_notes(
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    before: Annotated[int, Query(ge=1, le=MAX_ID)] = MAX_ID,
    db: AsyncSession = Depends(get_db),
):
    notes = await NoteService(db).list(before, limit + 1)
    more = f"/notes?limit={limit}&before={notes[limit - 1].id}" if len(notes) > limit else None
    return {"items": notes[:limit], "next": more}

@router.get("/{note_id}", response_model=NoteRead)
async def get_note(note_id: int, db: AsyncSession = Depends(get_db)):
    note = await NoteService(db).get(note_id)
    if note is None:
        raise HTTPException(status_code=404)
    return note

@router.post("", response_model=NoteRead, status_code=201)
async def create_note(data: NoteCreate, db: AsyncSession = Depends(get_db)):
    return await NoteService(db).create(data)
