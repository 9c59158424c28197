"""Log lines on stdout: JSON, one object per line, or readable text for a terminal."""

import json
import logging
import re
import time
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, override

from msgspec import Struct, UnsetType, to_builtins
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.msgspec import MsgspecFormatter

from groundwork.core.config import Settings
from groundwork.core.observability.log_queue import QueueHandler

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
# The W3C Trace Context of the request, for log lines and for requests that a feature sends.
traceparent: ContextVar[str | None] = ContextVar("traceparent", default=None)

# uvicorn repeats its messages with ANSI codes in color_message.
_NOT_EXTRAS = frozenset({*RESERVED_ATTRS, "color_message"})
_HEAD = ("timestamp", "level", "logger", "message")
_OURS = (*_HEAD, "request_id", "trace_id", "exception")
# Control characters, line breaks, and characters that change the direction of text.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class AccessLine(Struct):
    """The fields of a line of the access log, in their order."""

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


class AccessRecord(logging.LogRecord):
    """A line of the access log; made and formatted as others, it took over a tenth of a request."""

    _empty = vars(logging.makeLogRecord({}))

    def __init__(self, level: int, line: AccessLine) -> None:
        self.__dict__ = self._empty.copy()
        self.created, self.line, self.msg = time.time(), line, line.message
        self.name, self.levelno, self.levelname = line.logger, level, line.level
        self.msecs = self.created % 1 * 1000 // 1


def configure_logging(settings: Settings) -> None:
    """Send all loggers' lines, uvicorn's included, and warnings through one handler; idempotent.

    No record has its thread, process or task, which no line shows and which take time to find
    (https://docs.python.org/3/howto/logging.html#optimization).
    """
    for name in ("logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks"):
        setattr(logging, name, False)
    handler = QueueHandler()
    handler.setFormatter(JsonFormatter() if settings.log_json else TextFormatter())
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)
    logging.captureWarnings(capture=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        server_logger = logging.getLogger(name)
        server_logger.handlers.clear()
        server_logger.propagate = name != "uvicorn.access"  # RequestContext writes the access log


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    """Return the IDs of the request, and the `extra` fields; `_` is appended to a reserved name."""
    if isinstance(record, AccessRecord):
        line: dict[str, Any] = to_builtins(record.line)
        return {key: value for key, value in line.items() if key not in _HEAD}
    fields: dict[str, Any] = {}
    if (current := request_id.get()) is not None:
        fields["request_id"] = current
    if (trace := traceparent.get()) is not None:
        fields["trace_id"] = trace.split("-")[1]
    for key, value in record.__dict__.items():
        if key not in _NOT_EXTRAS:
            fields[f"{key}_" if key in _OURS else key] = value
    return fields


class JsonFormatter(MsgspecFormatter):
    """Formats a record as JSON: the fields of _OURS and the message, then the extra fields."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record, AccessRecord):
            return self.jsonify_log_record(record.line)
        return super().format(record)

    @override
    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        at = datetime.fromtimestamp(record.created, UTC)
        head = (at, record.levelname, record.name, record.message)
        log_data |= dict(zip(_HEAD, head, strict=True)) | _extras(record)
        if "exc_info" in message_dict:
            log_data["exception"] = message_dict.pop("exc_info")
        for key, value in message_dict.items():  # a dict that is logged as the message
            log_data[f"{key}_" if key in _OURS and key != "message" else key] = value

    @override
    def jsonify_log_record(self, log_data: Any) -> str:
        try:
            # Outside of strings, a line break is white space that a msgspec.Raw has brought.
            line: str = super().jsonify_log_record(log_data).replace("\n", " ").replace("\r", " ")
        except (ValueError, RecursionError):
            # Cycles, surrogates: keep the line, as escaped text.
            kept = (str, int, datetime, type(None))
            fields = log_data if isinstance(log_data, dict) else to_builtins(log_data)
            plain = {k: v if isinstance(v, kept) else repr(v) for k, v in fields.items()}
            line = json.dumps(plain, default=to_builtins)
        # Some readers end a line at U+2028, some terminals obey U+009B.
        return line if line.isascii() else _CONTROL.sub(lambda one: rf"\u{ord(one[0]):04x}", line)


class TextFormatter(logging.Formatter):
    """Formats a record for a terminal: time, level, logger, message, then name=value pairs."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-8s %(name)s: %(message)s", "%H:%M:%S")

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        pairs = "".join(f" {key}={value!r}" for key, value in _extras(record).items())
        # A path or header with a line break must not forge a log line.
        return _escape(super().formatMessage(record) + pairs)

    @override
    def formatException(self, ei: Any) -> str:
        """Return the traceback, whose text must neither command the terminal nor forge a line."""
        return "  " + "\n  ".join(map(_escape, super().formatException(ei).split("\n")))


def _escape(text: str) -> str:
    return _CONTROL.sub(lambda one: repr(one[0])[1:-1], text)
