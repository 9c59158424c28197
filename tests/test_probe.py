"""Whom `groundwork probe` asks, and what it makes of the answer."""

import http.client
from unittest.mock import Mock

import pytest

from groundwork.probe import probe


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Give what stands in for the connection; it answers 200."""
    connect = Mock()
    response = connect.return_value.getresponse.return_value
    response.status, response.read.return_value = 200, b"{}"
    monkeypatch.setattr(http.client, "HTTPConnection", connect)
    return connect


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({}, ("127.0.0.1", 8000)),
        ({"HOST": "0.0.0.0", "PORT": "81"}, ("127.0.0.1", 81)),  # noqa: S104 - as set
        ({"HOST": "::"}, ("::1", 8000)),
        ({"HOST": "10.0.0.7"}, ("10.0.0.7", 8000)),
    ],
)
def test_it_asks_where_the_service_listens(
    connect: Mock,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    asked: tuple[str, int],
) -> None:
    """HOST and PORT say where, with the defaults of the settings; every address is this one."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert probe("live") == 0
    connect.assert_called_once_with(*asked, timeout=2)
    connect.return_value.request.assert_called_once_with("GET", "/health/live")


def test_it_says_what_it_was_told(connect: Mock, capsys: pytest.CaptureFixture[str]) -> None:
    """Status and body are printed, for those who read why a container is unhealthy."""
    connect.return_value.getresponse.return_value.status = 503

    assert probe("ready") == 1
    assert capsys.readouterr().out == "503 {}\n"


def test_silence_is_a_failure(connect: Mock, capsys: pytest.CaptureFixture[str]) -> None:
    """An instance that does not answer in time makes the exit code 1 too."""
    connect.return_value.getresponse.side_effect = TimeoutError("timed out")

    assert probe("ready") == 1
    assert capsys.readouterr().out == "timed out\n"
