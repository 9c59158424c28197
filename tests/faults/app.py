"""The application with additional routes that use the database, block or hang."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from groundwork import main
from groundwork.core.database.queries import Query
from groundwork.core.http.middleware import RequestContext
from groundwork.core.observability import metrics
from groundwork.core.state import State

LOCK = "SELECT pg_advisory_lock(1)"
SLEEP = Query[None, float]("sleep")
vars(SLEEP)["text"] = "SELECT pg_sleep($1)"  # in place of a file in sql/


async def query(request: Request[State]) -> JSONResponse:
    """Run a short query on the pool."""
    async with request.state["pool"].acquire() as connection:
        return JSONResponse(await connection.fetchval("SELECT 1"))


async def write(request: Request[State]) -> JSONResponse:
    """Update a row."""
    async with request.state["pool"].acquire() as connection:
        return JSONResponse(await connection.execute("UPDATE installation SET id = id"))


async def transaction(request: Request[State]) -> JSONResponse:
    """Run a statement for some seconds within a transaction."""
    seconds = float(request.path_params["seconds"])
    async with request.state["pool"].acquire() as connection, connection.transaction():
        return JSONResponse(await SLEEP.execute(connection, seconds))


async def add(request: Request[State]) -> JSONResponse:
    """Insert a number, and read all within a transaction."""
    async with request.state["pool"].acquire() as connection, connection.transaction():
        await connection.execute("INSERT INTO number VALUES ($1)", int(request.path_params["n"]))
        return JSONResponse(len(await connection.fetch("SELECT * FROM number")))


async def hold(request: Request[State]) -> JSONResponse:
    """Hold a pool connection for some seconds."""
    async with request.state["pool"].acquire() as connection:
        await connection.execute("SELECT pg_sleep($1)", float(request.path_params["seconds"]))
    return JSONResponse("done")


async def locked(request: Request[State]) -> JSONResponse:
    """Hold a pool connection until the test releases its lock, LOCK."""
    async with request.state["pool"].acquire() as connection:
        await connection.execute("SELECT pg_advisory_lock_shared(1)")
    return JSONResponse("done")


async def hang(request: Request[State]) -> JSONResponse:
    """Respond after some seconds."""
    await asyncio.sleep(float(request.path_params["seconds"]))
    return JSONResponse("done")


async def echo(request: Request[State]) -> JSONResponse:
    """Respond with the length of the body."""
    return JSONResponse(len(await request.body()))


async def tasks(_: Request[State]) -> JSONResponse:
    """Respond with the numbers of tasks and of requests in flight, this request included."""
    requests = metrics.active_requests("GET", "http").count
    return JSONResponse({"tasks": len(asyncio.all_tasks()), "requests": requests})


async def freeze(request: Request[State]) -> JSONResponse:
    """Block the event loop."""
    time.sleep(float(request.path_params["seconds"]))
    return JSONResponse("done")


def block(_: Request[State]) -> JSONResponse:
    """Block a thread."""
    time.sleep(3600)
    return JSONResponse("done")


def create_app() -> RequestContext:
    """Return the application with these routes."""
    service = main.create_app()
    app = service.app
    app.router.routes += [
        Route("/query", query),
        Route("/write", write),
        Route("/hold/{seconds}", hold),
        Route("/locked", locked),
        Route("/transaction/{seconds}", transaction),
        Route("/add/{n}", add),
        Route("/freeze/{seconds}", freeze),
        Route("/hang/{seconds}", hang),
        Route("/echo", echo, methods=["POST"]),
        Route("/tasks", tasks),
        Route("/block", block),
    ]
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def never_returns(app: Starlette) -> AsyncGenerator[State]:
        async with inner(app) as state:
            yield cast("State", state)
            await asyncio.sleep(3600)

    if "NEVER_RETURN" in os.environ:
        app.router.lifespan_context = never_returns
    return service
