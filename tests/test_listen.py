"""The sockets that a HOST and PORT stand for."""

import errno
import socket
from unittest.mock import patch

import pytest

from groundwork.serve import listen
from tests.servers import free_port


def addresses(host: str) -> list[str]:
    """Listen on a free port, and return the addresses."""
    sockets = listen(host, free_port())
    found = [one.getsockname()[0] for one in sockets]
    for one in sockets:
        one.close()
    return sorted(found)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("::1", ["::1"]),
        ("[::1]", ["::1"]),
        ("0.0.0.0", ["0.0.0.0"]),  # noqa: S104 - as set
        ("::", ["0.0.0.0", "::"]),  # noqa: S104 - likewise
    ],
)
def test_a_host_is_one_address_or_all(host: str, expected: list[str]) -> None:
    """An address is one socket; `::` is every address, IPv4 and IPv6."""
    assert addresses(host) == expected


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_machine_without_ipv6_listens_on_ipv4(number: int) -> None:
    """`::` works where there is no IPv6, as containers often have none."""
    create = socket.create_server

    def without_ipv6(address: tuple[str, int], family: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(number, "no IPv6")
        return create(address, family=family)

    with patch("socket.create_server", without_ipv6):
        assert addresses("::") == ["0.0.0.0"]  # noqa: S104 - as set


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b", "x" * 70])
def test_a_host_of_elsewhere_is_refused(host: str, capfd: pytest.CaptureFixture[str]) -> None:
    """One line names HOST and PORT and says why; the exit code is 2."""
    with pytest.raises(SystemExit, match="2"):
        listen(host, port := free_port())

    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"groundwork: cannot listen on HOST {host}, PORT {port}: ")


# The process exits, which closes the other socket; a test does not.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("taken", ["127.0.0.1", "::1"])
def test_a_taken_port_is_refused(taken: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A port that another process uses on one of the addresses is an error."""
    port, family = free_port(), socket.AF_INET6 if ":" in taken else socket.AF_INET
    with (
        socket.create_server((taken, port), family=family),
        pytest.raises(SystemExit, match="2"),
    ):
        listen("::", port)

    assert "Address already in use" in capfd.readouterr().err
