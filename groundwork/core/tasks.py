"""Work that is started and not waited for, or not for long."""

import asyncio
from collections.abc import Coroutine
from typing import Any


def spawn[T](work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start work that nobody needs to wait for: a failure of it is not reported as forgotten."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


async def run_with_timeout[T](seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Await work for so long at most, even where its cancellation would hang.

    A connection's release waits, shielded, for the server's answer, and asyncio.timeout() with
    it; so the work is cancelled, but not waited for.

    Raises:
        TimeoutError: it took longer.
    """
    task = spawn(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if task.done():
            return task.result()
    finally:
        task.cancel()
    message = f"no answer within {seconds:.3f} s"
    raise TimeoutError(message)
