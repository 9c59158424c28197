from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy import text
from groundwork.core.config import get_settings

class HealthService:
    def __init__(self, db: AsyncSession):
        self.db = db
        self.settings = get_settings()

    async def check_readiness(self) -> bool:
        try:
            await self.db.execute(text("SELECT 1"))
            return True
        except Exception:
            return False

    async def get_details(self) -> dict:
        db_ok = await self.check_readiness()
        return {
            "status": "ok" if db_ok else "degraded",
            "version": "0.1.0",
            "environment": self.settings.environment,
            "components": {
                "database": {"status": "ok" if db_ok else "unavailable"},
            },
        }
