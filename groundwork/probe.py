"""`groundwork probe`: ask the instance in this container how it is; standard library only."""

import http.client
import os

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what to ask instead of it


def probe(name: str) -> int:
    """GET /health/<name> where HOST and PORT say; return the exit code: 0 for 200, else 1."""
    host = os.environ.get("HOST", "127.0.0.1")
    port = int(os.environ.get("PORT", "8000"))
    connection = http.client.HTTPConnection(_EVERYWHERE.get(host, host), port, timeout=2)
    try:
        connection.request("GET", f"/health/{name}")
        response = connection.getresponse()
        print(response.status, response.read().decode())
    except OSError as error:
        print(error)
        return 1
    return 0 if response.status == http.HTTPStatus.OK else 1
