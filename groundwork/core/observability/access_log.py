"""The access log: one line for each request.

It is made and encoded as a Struct, without the parts of a log record that it does not have, such
as arguments and a place in the code: these took an eighth of a small request's time.
"""

import logging
from datetime import datetime
from typing import Any

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import asdict

logger = logging.getLogger("groundwork.access")


class AccessLine(Struct):
    """The fields of a line, in their order."""

    timestamp: datetime
    level: str
    logger: str
    message: str
    request_id: str
    trace_id: str | UnsetType
    method: str
    path: str
    status: int
    duration_ms: float
    client: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields that are set."""
        return {name: value for name, value in asdict(self).items() if value is not UNSET}


class AccessRecord(logging.LogRecord):
    """A line, for the handlers of logging."""

    args = exc_info = exc_text = stack_info = None

    def __init__(self, level: int, line: AccessLine) -> None:
        self.name, self.created = line.logger, line.timestamp.timestamp()
        self.levelno, self.levelname = level, line.level
        self.msg = self.message = line.message
        self.line = line
        self.filename, self.lineno = "", 0  # a formatter may ask for them
