"""HOST and PORT: where to listen, and where to connect on the same machine."""

import errno
import socket

from groundwork.core.environment import exit_with

# A machine without IPv6 still listens on IPv4.
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
# Where to connect if the service listens on every address.
_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "localhost"}  # noqa: S104 - replaced


def local_address(host: str) -> str:
    """Return the address at which a service on this machine with this HOST can be reached."""
    return _LOCAL.get(host := host.strip("[]"), host)


def listen(host: str, port: int) -> list[socket.socket]:
    """Listen on HOST and PORT, or print why not and exit with 2.

    `::` is every address of this machine, IPv4 and IPv6: two sockets, so that an IPv4 client has
    an IPv4 address in the log and in FORWARDED_ALLOW_IPS.
    """
    hosts = ("0.0.0.0", "::") if (host := host.strip("[]")) == "::" else (host,)  # noqa: S104 - as set
    sockets: list[socket.socket] = []
    for one in hosts:
        family = socket.AF_INET6 if ":" in one else socket.AF_INET
        try:
            sockets.append(socket.create_server((one, port), family=family))
        except (OSError, UnicodeError) as error:
            if not sockets or getattr(error, "errno", None) not in _NO_IPV6:
                exit_with(f"cannot listen on HOST {host}, PORT {port}: {error}")
    return sockets
