from fastapi import APIRouter, Depends
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy import text

from groundwork.core.database import get_db
from groundwork.health.services import HealthService

router = APIRouter()

@router.get("/live")
async def liveness():
    """App is running. Used by Kubernetes liveness probe."""
    return {"status": "ok"}

@router.get("/ready")
async def readiness(db: AsyncSession = Depends(get_db)):
    """App is ready to serve traffic. Checks dependencies."""
    service = HealthService(db)
    is_ready = await service.check_readiness()
    if not is_ready:
        return {"status": "unavailable"}, 503
    return {"status": "ok"}

@router.get("/details")
async def details(db: AsyncSession = Depends(get_db)):
    """Detailed health with component status and metrics."""
    service = HealthService(db)
    return await service.get_details()
