"""What `groundwork serve` tells uvicorn; test_commands.py sees what comes of it."""

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
    """Give what stands in for signal.signal(), so that these tests keep their handlers."""
    monkeypatch.setattr("signal.signal", handle := Mock())
    return handle


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Give the options of uvicorn.run()."""
    monkeypatch.setattr("groundwork.serve.create_app", create_app := Mock())
    monkeypatch.setattr("uvicorn.run", run := Mock())
    serve(SETTINGS)
    create_app.assert_called_once_with(SETTINGS)
    assert run.call_args.args == (create_app.return_value,)
    return dict(run.call_args.kwargs)


def test_the_settings_are_handed_on(told: dict[str, Any]) -> None:
    """HOST, PORT, KEEP_ALIVE_SECONDS and SHUTDOWN_GRACE_SECONDS reach uvicorn."""
    assert (told["host"], told["port"]) == ("::1", 1234)
    assert told["timeout_graceful_shutdown"] == 7
    assert told["timeout_keep_alive"] == 42


def test_nothing_is_left_to_what_is_installed(told: dict[str, Any]) -> None:
    """Loop and parser are named, no WebSocket is taken, and a lifespan that fails ends it."""
    assert (told["loop"], told["http"]) == ("uvloop", "httptools")
    assert (told["ws"], told["lifespan"]) == ("none", "on")


def test_the_service_keeps_the_log(told: dict[str, Any]) -> None:
    """Uvicorn sets up no logging, writes no line a request, and names itself nowhere."""
    assert told["log_config"] is None
    assert told["access_log"] is False
    assert told["server_header"] is False


@pytest.mark.usefixtures("told")
def test_a_signal_that_uvicorn_does_not_take_ends_it(handle: Mock) -> None:
    """Before uvicorn has handlers of its own, a stop is at once, and a success."""
    taken = dict(one.args for one in handle.mock_calls)

    assert taken.keys() == {signal.SIGTERM, signal.SIGINT}
    for number, end in taken.items():
        with pytest.raises(SystemExit, match="0"):
            end(number, None)
