"""The objects that every request shares."""

from typing import TypedDict

from groundwork.core.config import Settings
from groundwork.core.database import Pool
from groundwork.core.lifecycle import Lifecycle
from groundwork.core.observability.recent import Recent
from groundwork.core.readiness.check import Readiness


class State(TypedDict):
    """The type of `request.state` in handlers of Request[State].

    The lifespan creates it. Each request gets a shallow copy: never rebind its keys.
    """

    settings: Settings
    pool: Pool
    readiness: Readiness
    lifecycle: Lifecycle
    recent: Recent
