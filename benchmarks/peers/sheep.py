"""BlackSheep, whose core is Cython, with asyncpg; no middleware at all."""

import os

import asyncpg
from blacksheep import Application, get, json

app = Application()


@app.lifespan
async def pool(app):
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=0, max_size=15) as pool:
        app.services.register(asyncpg.Pool, instance=pool)
        yield


@get("/health/live")
async def live():
    return json({"status": "ok"})


@get("/health/ready")
async def ready(pool: asyncpg.Pool):
    async with pool.acquire() as connection:
        await connection.fetchval("SELECT 1")
    return json({"status": "ok"})
