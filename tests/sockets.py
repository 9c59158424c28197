"""Bare sockets for tests: what is sent goes out as it is, and every answer is kept."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Any

from tests.servers import PATIENCE


@dataclass(frozen=True)
class Answer:
    """One answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return what the body holds."""
        return json.loads(self.body)


def exchange(port: int, data: bytes, *, hang_up: bool = False) -> list[Answer]:
    """Send these bytes, and hang up or not; return what comes until the server closes."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(data)
        if hang_up:
            connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            return list(_answers(stream))


def _answers(stream: BufferedIOBase) -> Iterator[Answer]:
    while first := stream.readline():
        headers = {}
        while line := stream.readline().decode().strip():
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        body = stream.read(int(headers["content-length"]))
        yield Answer(int(first.split()[1]), headers, body)
