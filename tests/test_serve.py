"""The options that `groundwork serve` gives uvicorn; test_commands.py runs the command."""

import signal
from typing import Any
from unittest.mock import Mock

import pytest

from groundwork.core.config import Settings
from groundwork.serve import serve

SETTINGS = Settings(
    database_url="postgresql://",
    host="::1",
    port=1234,
    keep_alive_seconds=42,
    shutdown_grace_seconds=7.5,
)


@pytest.fixture(autouse=True)
def handle(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Replace signal.signal() by a mock, so that these tests keep their handlers."""
    monkeypatch.setattr("signal.signal", handle := Mock())
    return handle


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the options of uvicorn.run()."""
    monkeypatch.setattr("groundwork.serve.create_app", create_app := Mock())
    monkeypatch.setattr("uvicorn.run", run := Mock())
    serve(SETTINGS)
    create_app.assert_called_once_with(SETTINGS)
    assert run.call_args.args == (create_app.return_value,)
    return dict(run.call_args.kwargs)


def test_the_settings_reach_uvicorn(options: dict[str, Any]) -> None:
    """HOST, PORT, KEEP_ALIVE_SECONDS and SHUTDOWN_GRACE_SECONDS are passed to uvicorn."""
    assert (options["host"], options["port"]) == ("::1", 1234)
    assert options["timeout_graceful_shutdown"] == 7
    assert options["timeout_keep_alive"] == 42


def test_loop_and_parser_are_explicit(options: dict[str, Any]) -> None:
    """Event loop and parser are fixed, WebSockets are off, and a failed lifespan is an error."""
    assert (options["loop"], options["http"]) == ("uvloop", "httptools")
    assert (options["ws"], options["lifespan"]) == ("none", "on")


def test_uvicorn_does_not_log_requests(options: dict[str, Any]) -> None:
    """Uvicorn configures no logging, writes no access log, and sends no Server header."""
    assert options["log_config"] is None
    assert options["access_log"] is False
    assert options["server_header"] is False


@pytest.mark.usefixtures("options")
def test_a_signal_during_startup_exits_with_0(handle: Mock) -> None:
    """Before uvicorn installs its handlers, a signal exits at once with 0."""
    taken = dict(one.args for one in handle.mock_calls)

    assert taken.keys() == {signal.SIGTERM, signal.SIGINT}
    for number, end in taken.items():
        with pytest.raises(SystemExit, match="0"):
            end(number, None)
