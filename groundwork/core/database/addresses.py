"""The servers to try: the hosts of DATABASE_URL, and the addresses of their names."""

import asyncio
import socket
from typing import Any, NamedTuple, override

from groundwork.core.tasks import spawn

_KNOWN_SECONDS = 1.0  # the timeout where addresses are known
# Where a network or a host drops every packet, a statement fails after 10 s; and no firewall sees
# an idle connection, which it would forget. Linux has each of these (tcp(7)); the last is in ms.
_KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 5, "TCP_USER_TIMEOUT": 10_000}


class Target(NamedTuple):
    """A host to try, its port and one address of it: None before a lookup, "" without one."""

    host: str | None = None
    port: int | None = None
    address: str | None = None

    @override
    def __str__(self) -> str:
        return f"{self.address or self.host or 'localhost'}:{self.port or 5432}"


class LoopTo:
    """The event loop, except that a connection goes to one address of its host's name.

    asyncpg takes no address beside the host, and TLS needs the name.
    """

    def __init__(self, address: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._address = address

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._loop, name)
        setattr(self, name, found)  # the driver uses a few for each statement
        return found

    async def create_connection(self, factory: Any, host: str, port: int, **options: Any) -> Any:
        """Connect to the address in place of the host, with TCP's keepalive."""
        if "ssl" in options:
            options["server_hostname"] = host
        made = await self._loop.create_connection(factory, self._address, port, **options)
        connected = made[0].get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name in _KEEPALIVE.keys() & vars(socket).keys():
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), _KEEPALIVE[name])
        return made


class Lookups:
    """Looks up each host name once at a time: a lookup that hangs takes one of few threads.

    If a name server drops a packet, a lookup takes 5 s. So after one second the known addresses
    are used, and also if no name server responds.
    """

    def __init__(self) -> None:
        self._latest: dict[str, asyncio.Task[list[str]]] = {}
        self._known: dict[str, list[str]] = {}

    async def addresses_of(self, host: str, seconds: float) -> list[str]:
        """Return the addresses, after `seconds` the known ones; "" for the folder of a socket.

        Raises:
            OSError: there is no such name, or no name server.
        """
        if host.startswith("/"):
            return [""]
        lookup = self._latest.get(host)
        if lookup is None or lookup.done():
            self._latest[host] = lookup = spawn(self._look_up(host))
        known = self._known.get(host, [])
        await asyncio.wait({lookup}, timeout=min(seconds, _KNOWN_SECONDS) if known else seconds)
        try:
            return lookup.result() if lookup.done() else known
        except OSError as error:
            if known and error.errno == socket.EAI_AGAIN:
                return known
            raise

    async def _look_up(self, host: str) -> list[str]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        self._known[host] = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        return self._known[host]
