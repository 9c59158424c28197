"""`groundwork probe`: check the instance in this container; standard library only."""

import http.client

from groundwork.core.environment import read_environment

# Where to connect if the service listens on every address.
_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "localhost"}  # noqa: S104 - replaced
_ERRORS = (OSError, ValueError, OverflowError, http.client.HTTPException)


def local_address(host: str) -> str:
    """Return the address at which a service on this machine with this HOST can be reached."""
    bare = host.strip("[]")
    return _LOCAL.get(bare, bare)


def probe(name: str) -> int:
    """GET /health/<name> from where `serve` listens; return the exit code: 0 for 200, else 1.

    An invalid HOST or PORT is 2, with the message that `serve` has for it.
    """
    given, _ = read_environment(("ENVIRONMENT", "HOST", "PORT"))
    try:
        host, port = given.get("HOST", "127.0.0.1"), int(given.get("PORT", "8000"))
        connection = http.client.HTTPConnection(local_address(host), port, timeout=2)
        connection.request("GET", f"/health/{name}")
        response = connection.getresponse()
        print(response.status, response.read().decode(errors="replace"))
    except _ERRORS as error:
        return _explain(error)
    return 0 if response.status == http.HTTPStatus.OK else 1


def _explain(failure: Exception) -> int:
    from groundwork.core.config import SettingsError, load_settings

    try:
        load_settings()
    except SettingsError as error:
        if error.errors.keys() & {".env", "ENVIRONMENT", "HOST", "PORT"}:
            print(f"groundwork: {error}")
            return 2
    print(failure)
    return 1
