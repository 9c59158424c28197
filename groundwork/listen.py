"""The sockets that `groundwork serve` and `groundwork dev` listen on."""

import errno
import os
import socket

from groundwork.core.environment import exit_with

# A machine without IPv6, or without the address of it, still listens on the other family.
_NO_FAMILY = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}


def listen(host: str, port: int) -> list[socket.socket]:
    """Listen on every address that HOST stands for, or print why not and exit with 2.

    `::` is every address of this machine, IPv4 and IPv6: two sockets, so that an IPv4 client has
    an IPv4 address in the log and in FORWARDED_ALLOW_IPS.
    """
    try:
        return _listen(None if host == "::" else host, port)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "not a host name"
        exit_with(f"cannot listen on HOST {host}, PORT {port}: {why}")


def _listen(host: str | None, port: int) -> list[socket.socket]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets, failure = [], OSError()
    for family, address in {(family, address) for family, *_, address in found}:
        try:
            sockets.append(socket.create_server(address, family=family))
        except OSError as error:
            failure = OSError(error.errno, os.strerror(error.errno or 0))
            if error.errno not in _NO_FAMILY:
                break
    else:
        if sockets:
            return sockets
    for one in sockets:
        one.close()
    raise failure
