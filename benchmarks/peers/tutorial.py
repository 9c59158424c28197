"""Starlette as its tutorial writes it, asyncpg as its own does; no middleware at all."""

import os
from contextlib import asynccontextmanager

import asyncpg
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route


@asynccontextmanager
async def lifespan(app):
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=0, max_size=15) as pool:
        yield {"pool": pool}


async def live(request):
    return JSONResponse({"status": "ok"})


async def ready(request):
    async with request.state.pool.acquire() as connection:
        await connection.fetchval("SELECT 1")
    return JSONResponse({"status": "ok"})


app = Starlette(
    lifespan=lifespan,
    routes=[Route("/health/live", live), Route("/health/ready", ready)],
)
