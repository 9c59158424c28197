"""`groundwork probe`: where it connects, and its exit code."""

import http.client
from unittest.mock import Mock

import pytest

from groundwork.probe import probe


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Replace the connection by a mock that responds with 200."""
    connect = Mock()
    response = connect.return_value.getresponse.return_value
    response.status, response.read.return_value = 200, b"{}"
    monkeypatch.setattr(http.client, "HTTPConnection", connect)
    return connect


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, ("127.0.0.1", 8000)),
        ({"HOST": "0.0.0.0", "PORT": "81"}, ("127.0.0.1", 81)),  # noqa: S104 - as set
        ({"HOST": "::"}, ("::1", 8000)),
        ({"HOST": "10.0.0.7"}, ("10.0.0.7", 8000)),
    ],
)
def test_the_probe_connects_to_the_listening_address(
    connect: Mock,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    address: tuple[str, int],
) -> None:
    """HOST and PORT have the defaults of the settings; a wildcard address means loopback."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert probe("live") == 0
    connect.assert_called_once_with(*address, timeout=2)
    connect.return_value.request.assert_called_once_with("GET", "/health/live")


def test_the_response_is_printed(connect: Mock, capsys: pytest.CaptureFixture[str]) -> None:
    """Status code and body are printed, so that a container's log shows why it is unhealthy."""
    connect.return_value.getresponse.return_value.status = 503

    assert probe("ready") == 1
    assert capsys.readouterr().out == "503 {}\n"


def test_a_timeout_is_a_failure(connect: Mock, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a response in time, the exit code is 1."""
    connect.return_value.getresponse.side_effect = TimeoutError("timed out")

    assert probe("ready") == 1
    assert capsys.readouterr().out == "timed out\n"
