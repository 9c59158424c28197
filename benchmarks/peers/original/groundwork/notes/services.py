from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from groundwork.notes.models import Note
from groundwork.notes.schemas import NoteCreate

class NoteService:
    def __init__(self, db: AsyncSession):
        self.db = db

    async def list(self, before: int, limit: int) -> Sequence[Note]:
        statement = select(Note).where(Note.id < before).order_by(Note.id.desc()).limit(limit)
        return (await self.db.scalars(statement)).all()

    async def get(self, note_id: int) -> Note | None:
        return await self.db.get(Note, note_id)

    async def create(self, data: NoteCreate) -> Note:
        note = Note(**data.model_dump())
        self.db.add(note)
        await self.db.flush()
        return note
