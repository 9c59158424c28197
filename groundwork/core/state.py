"""What the lifespan hands to every request."""

from typing import TypedDict

from groundwork.core.config import Settings
from groundwork.core.database.connections import Pool
from groundwork.core.lifecycle import Lifecycle
from groundwork.core.readiness.check import Readiness


class State(TypedDict):
    """Take it as Request[State]: `request.state["pool"]` is typed.

    Each request gets a shallow copy: share objects in it, never rebind its keys.
    """

    settings: Settings
    pool: Pool
    readiness: Readiness
    lifecycle: Lifecycle
