"""Plain sockets for tests: bytes are sent unchanged, and every response is returned."""

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Any

from tests.servers import PATIENCE


@dataclass(frozen=True)
class Response:
    """A response; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body, parsed as JSON."""
        return json.loads(self.body)


def exchange(port: int, *data: bytes, hang_up: bool = False) -> list[Response]:
    """Send bytes, half-close if `hang_up`, and return the responses until the server closes.

    What is sent in several parts arrives so.
    """
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        for part in data:
            connection.sendall(part)
            time.sleep(0.05 * (part is not data[-1]))
        if hang_up:
            connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            return list(_responses(stream))


def _responses(stream: BufferedIOBase) -> Iterator[Response]:
    while first := stream.readline():
        headers = {}
        while line := stream.readline().decode().strip():
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        body = stream.read(int(headers["content-length"]))
        yield Response(int(first.split()[1]), headers, body)
