"""Background tasks and timeouts."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
from typing import Any

logger = logging.getLogger(__name__)

_END_SECONDS = 0.5


def spawn[T](work: Coroutine[Any, Any, T], context: Context | None = None) -> asyncio.Task[T]:
    """Run a coroutine as a background task; nothing logs its exception.

    Without a context it gets an empty one: its log lines belong to no request.
    """
    task = asyncio.create_task(work, context=context or Context())
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


@asynccontextmanager
async def background(*work: Coroutine[Any, Any, object]) -> AsyncGenerator[None]:
    """Run coroutines during the block, then cancel them and let them end; log those that fail."""
    tasks = [spawn(one) for one in work]
    for task in tasks:
        task.add_done_callback(_log_failure)
    yield
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=_END_SECONDS)


def _log_failure(task: asyncio.Task[object]) -> None:
    if not task.cancelled() and (error := task.exception()):
        logger.error("background task failed", exc_info=error)


async def run_with_timeout[T](seconds: float, work: Coroutine[Any, Any, T], turns: int = 1) -> T:
    """Return the result of a coroutine, within a timeout even if its cancellation hangs.

    The release of a connection waits, shielded, for a response from the server, and so does
    asyncio.timeout() around it. Here the task is cancelled, but not awaited. With several turns, a
    blocked event loop uses up one of them, and not the whole timeout.

    Raises:
        TimeoutError: the coroutine took longer than `seconds`.
    """
    task = spawn(work, copy_context())
    try:
        for _ in range(turns):
            await asyncio.wait({task}, timeout=seconds / turns)
            if task.done():
                return task.result()
    finally:
        task.cancel()
    message = f"no response within {seconds:.3f} s"
    raise TimeoutError(message)
