"""What every request needs in service: a request ID, and a JSON line in the access log."""

import logging
import sys
import time
from datetime import UTC, datetime
from uuid import uuid4

import msgspec

logger = logging.getLogger("access")


class JsonFormatter(logging.Formatter):
    encode = msgspec.json.Encoder().encode

    def format(self, record):
        line = {
            "timestamp": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        return self.encode(line | record.fields).decode()


def configure_logging():
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


class Duties:
    def __init__(self, app):
        self.app = app
        configure_logging()

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
        request_id = given or uuid4().hex.encode()

        async def send_with_id(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            fields = {
                "request_id": request_id.decode("latin-1"),
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "duration_ms": round((time.perf_counter() - started) * 1000, 3),
                "client": scope["client"][0],
            }
            logger.info("request", extra={"fields": fields})
