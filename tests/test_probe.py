"""Where `groundwork probe` connects, and its exit codes."""

import http.client
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest

from groundwork.probe import probe


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Replace the connection by one whose response is 200."""
    connect = Mock()
    response = connect.return_value.getresponse.return_value
    response.status, response.read.return_value = 200, b"{}"
    monkeypatch.setattr(http.client, "HTTPConnection", connect)
    return connect


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, ("127.0.0.1", 8000)),
        ({"HOST": "0.0.0.0", "PORT": "81\n"}, ("127.0.0.1", 81)),  # noqa: S104 - as set
        ({"HOST": "::"}, ("localhost", 8000)),
        ({"HOST": "[::1]"}, ("::1", 8000)),
        ({"HOST": "10.0.0.7", "PORT_FILE": "port"}, ("10.0.0.7", 82)),
    ],
)
def test_it_connects_where_the_service_listens(
    connect: Mock,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    address: tuple[str, int],
) -> None:
    """HOST and PORT have the defaults of the settings; every address includes this machine's."""
    Path("port").write_text("82")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert probe("live") == 0
    connect.assert_called_once_with(*address, timeout=2)
    connect.return_value.request.assert_called_once_with("GET", "/health/live")


def test_it_reads_dotenv_in_development(connect: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    """PORT in `.env` counts, as for `serve`, and only in development."""
    Path(".env").write_text("PORT=83\n")

    probe("live")
    monkeypatch.setenv("ENVIRONMENT", "production")
    probe("live")

    assert [one.args[1] for one in connect.call_args_list] == [83, 8000]


def test_it_prints_the_response(connect: Mock, capfd: pytest.CaptureFixture[str]) -> None:
    """Status and body are printed: `docker inspect` shows them for an unhealthy container."""
    connect.return_value.getresponse.return_value.status = 503

    assert probe("ready") == 1
    assert capfd.readouterr().out == "503 {}\n"


@pytest.mark.parametrize(
    "failure", [TimeoutError("timed out"), http.client.BadStatusLine("timed out")]
)
def test_no_response_is_a_failure(
    connect: Mock, capfd: pytest.CaptureFixture[str], failure: Exception
) -> None:
    """An instance that sends no response in time, or no HTTP, makes the exit code 1."""
    connect.return_value.getresponse.side_effect = failure

    assert probe("ready") == 1
    assert capfd.readouterr().out == "timed out\n"


@pytest.mark.parametrize("name", ["PORT", "HOST"])
def test_an_invalid_address_is_reported_as_by_serve(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    """An invalid HOST or PORT makes the exit code 2, and the message names it."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://")
    monkeypatch.setenv(name, "a b")

    with pytest.raises(SystemExit, match="2"):
        probe("live")
    assert capfd.readouterr().err.startswith(f"groundwork: {name}: ")


@pytest.mark.parametrize(("name", "value"), [("PORT", "99999"), ("HOST", "a..b")])
def test_an_impossible_address_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Where no service can listen, none responds: the exit code is 1."""
    monkeypatch.setenv(name, value)

    assert probe("live") == 1


def test_its_imports_are_the_standard_library() -> None:
    """It runs every few seconds in each container, so it imports nothing that is installed."""
    command = "import sys, groundwork.probe; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    )

    found = {name.partition(".")[0] for name in done.stdout.split()}
    assert not found & {"environs", "marshmallow", "dotenv", "uvicorn", "asyncpg", "asyncio"}
