import os
import time
import uuid
from contextlib import asynccontextmanager
from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware

from groundwork.core.config import get_settings
from groundwork.core.logging import setup_logging, get_logger
from groundwork.core.database import engine
from groundwork.health.routes import router as health_router
from groundwork.notes.routes import router as notes_router

settings = get_settings()
logger = get_logger(__name__)

@asynccontextmanager
async def lifespan(app: FastAPI):
    """Startup and shutdown events."""
    logger.info("Starting Groundwork", extra={"version": app.version})  # fixed: it did not start
    yield
    await engine.dispose()
    logger.info("Shutting down Groundwork")

def create_app() -> FastAPI:
    setup_logging()

    app = FastAPI(
        title=settings.app_name,
        version="0.1.0",
        lifespan=lifespan,
        docs_url="/docs" if settings.debug else None,
        redoc_url="/redoc" if settings.debug else None,
    )

    # Middleware (order matters - first added = outermost)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=[os.environ["CORS_ALLOW_ORIGINS"]],  # fixed: it had no setting
        allow_methods=["*"],
        allow_headers=["*"],
    )

    @app.middleware("http")
    async def request_context(request: Request, call_next):
        request_id = request.headers.get("X-Request-ID", str(uuid.uuid4()))
        request.state.request_id = request_id
        started = time.perf_counter()
        response = await call_next(request)
        response.headers["X-Request-ID"] = request_id
        logger.info("request", extra={  # fixed: it had no access log
            "request_id": request_id,
            "method": request.method,
            "path": request.url.path,
            "status": response.status_code,
            "duration_ms": round((time.perf_counter() - started) * 1000, 3),
            "client": request.client.host,
        })
        return response

    # Routes
    app.include_router(health_router, prefix="/health", tags=["health"])
    app.include_router(notes_router, prefix="/notes", tags=["notes"])

    return app

app = create_app()
