"""The addresses of a host name."""

import asyncio
import socket
from typing import Any


class LoopTo:
    """The event loop, except that a connection goes to one address of its host's name.

    asyncpg takes no address beside the host, and TLS needs the name.
    """

    def __init__(self, address: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._address = address

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(self, factory: Any, host: str, port: int, **options: Any) -> Any:
        """Connect to the address in place of the host."""
        if "ssl" in options:
            options["server_hostname"] = host
        return await self._loop.create_connection(factory, self._address, port, **options)


async def addresses_of(host: str, seconds: float) -> list[str | None]:
    """Return the addresses of a name; None where there are none, for the driver to look it up."""
    if host.startswith("/"):
        return [None]
    lookup = asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    try:
        found = await asyncio.wait_for(lookup, seconds)
    except OSError:
        return [None]  # connecting fails likewise, and says why
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
