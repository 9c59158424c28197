"""The tests' event loop: production's, and what a test leaves open fails that test."""

import asyncio
import warnings
from collections.abc import Callable
from typing import override

import uvloop

from tests.servers import PATIENCE


class Loop(uvloop.Loop):
    """Raise at close what uvloop only warns of.

    uvloop closes a handle after its warning. Where warnings are errors, as in these tests, the
    handle stays open, and the last turn of the loop waits for its end for ever.
    """

    @override
    def close(self) -> None:
        """Close whatever is still open, then raise its ResourceWarnings as one error."""
        with warnings.catch_warnings(record=True) as unclosed:
            warnings.simplefilter("always", ResourceWarning)
            super().close()
        if unclosed:
            raise ResourceWarning(*(str(warning.message) for warning in unclosed))


async def eventually(condition: Callable[[], object]) -> None:
    """Let the event loop run until a condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)
