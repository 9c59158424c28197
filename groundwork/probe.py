"""`groundwork probe`: check the instance in this container; standard library only."""

import http.client
import re

from groundwork.core.environment import read_environment, say

# Where to connect if the service listens on every address.
_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "localhost"}  # noqa: S104 - replaced


def local_address(host: str) -> str:
    """Return the address at which a service on this machine with this HOST can be reached."""
    return _LOCAL.get(host := host.strip("[]"), host)


def probe(name: str) -> int:
    """GET /health/<name> from where `serve` listens; return the exit code: 0 for 200, else 1."""
    given, errors = read_environment(("ENVIRONMENT", "HOST", "PORT"))
    host, port = local_address(given.get("HOST", "127.0.0.1")), given.get("PORT", "8000")
    if errors or not re.fullmatch(r"[\w.:%-]{1,255} \d{1,5}", f"{host} {port}", re.ASCII):
        from groundwork.core.config import settings_or_exit

        settings_or_exit()  # says what is wrong, as `serve` does
    try:
        connection = http.client.HTTPConnection(host, int(port), timeout=2)
        connection.request("GET", f"/health/{name}")
        response = connection.getresponse()
        say(f"{response.status} {response.read().decode(errors='replace')}")
    except (OSError, ValueError, OverflowError, http.client.HTTPException) as error:
        say(str(error))
        return 1
    return 0 if response.status == http.HTTPStatus.OK else 1
