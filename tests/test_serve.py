"""What `groundwork serve` passes to uvicorn; test_commands.py tests the running service."""

import gc
import logging
import os
import signal
import subprocess
import sys
from subprocess import PIPE
from typing import Any
from unittest.mock import Mock

import pytest

from groundwork.core.config import Settings
from groundwork.protocol import Protocol
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
    """Replace the settings, and signal.signal(), so that the tests keep their handlers."""
    monkeypatch.setattr("signal.signal", handle := Mock())
    monkeypatch.setattr("groundwork.serve.settings_or_exit", lambda: SETTINGS)
    return handle


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Replace the listening on sockets."""
    monkeypatch.setattr("groundwork.serve.listen", listen := Mock())
    return listen


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Replace uvicorn's server, which has started and has stopped again."""
    monkeypatch.setattr("uvicorn.Server", server := Mock())
    return server


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch, listen: Mock, server: Mock) -> dict[str, Any]:
    """Serve, and return the options of uvicorn's configuration."""
    monkeypatch.setattr("groundwork.main.create_app", create_app := Mock())
    monkeypatch.setattr("uvicorn.Config", config := Mock())
    serve()
    create_app.assert_called_once_with(SETTINGS)
    assert config.call_args.args == (create_app.return_value,)
    server.assert_called_once_with(config.return_value)
    server.return_value.run.assert_called_once_with(listen.return_value)
    return dict(config.call_args.kwargs)


def test_settings_reach_uvicorn(options: dict[str, Any], listen: Mock) -> None:
    """HOST, PORT, KEEP_ALIVE_SECONDS and SHUTDOWN_GRACE_SECONDS have their effect."""
    listen.assert_called_once_with("::1", 1234)
    assert options["timeout_graceful_shutdown"] == 7.5
    assert options["timeout_keep_alive"] == 42


def test_event_loop_and_parser_are_fixed(options: dict[str, Any]) -> None:
    """Nothing depends on what is installed; no WebSocket; a failed lifespan ends the process."""
    assert (options["loop"], options["http"]) == ("uvloop", Protocol)
    assert (options["ws"], options["lifespan"]) == ("none", "on")


def test_one_process_serves(options: dict[str, Any]) -> None:
    """The number of workers is set, so uvicorn does not read WEB_CONCURRENCY."""
    assert options["workers"] == 1


def test_uvicorn_leaves_the_log_to_the_service(options: dict[str, Any]) -> None:
    """Uvicorn sets up no logging, writes no access log and sends no Server header."""
    assert options["log_config"] is None
    assert options["access_log"] is False
    assert options["server_header"] is False


@pytest.mark.usefixtures("options")
def test_a_signal_that_uvicorn_raises_again_exits(handle: Mock) -> None:
    """After uvicorn has stopped, SIGTERM and SIGINT exit with 0, as Python does."""
    taken = dict(one.args for one in handle.mock_calls)

    assert taken.keys() == {signal.SIGTERM, signal.SIGINT}
    for number, end in taken.items():
        with pytest.raises(SystemExit, match="0"):
            end(number, None)


@pytest.mark.usefixtures("listen", "server")
def test_the_log_has_the_address(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """HOST and PORT are two fields of a line."""
    caplog.set_level(logging.INFO, "groundwork")
    monkeypatch.setattr("groundwork.main.create_app", Mock())
    serve()

    lines = [vars(one) for one in caplog.records if one.message == "listening"]
    assert [(one["host"], one["port"]) for one in lines] == [("::1", 1234)]


def test_settings_are_read_here_where_no_process_starts(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """They are, where the system allows no more processes; else in one of their own."""
    monkeypatch.setattr("os.fork", Mock(side_effect=BlockingIOError))

    assert request.getfixturevalue("options")["timeout_keep_alive"] == 42


def test_settings_are_read_here_if_the_other_process_is_killed(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """It may run out of memory."""
    here = os.getpid()

    def read() -> Settings:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return SETTINGS

    monkeypatch.setattr("groundwork.serve.settings_or_exit", Mock(side_effect=read))

    assert request.getfixturevalue("options")["timeout_keep_alive"] == 42


def test_a_bug_in_the_other_process_is_reported_once() -> None:
    """It is met here again; there it must not go on with what called it."""
    code = "from groundwork import serve; serve.settings_or_exit = None; serve.serve()"

    done = subprocess.run([sys.executable, "-c", code], stderr=PIPE, text=True, check=False)

    assert (done.returncode, done.stderr.count("Traceback")) == (1, 1)


def test_settings_are_read_if_nobody_waits_for_processes(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Who starts the service may have it ignore SIGCHLD: then the system waits for them."""
    monkeypatch.setattr("os.waitpid", Mock(side_effect=ChildProcessError))

    assert request.getfixturevalue("options")["timeout_keep_alive"] == 42


def test_what_reading_removes_from_the_environment_is_removed(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """PG* is removed with the database of `groundwork dev`; asyncpg would read it."""
    monkeypatch.setenv("PGSERVICE", "another")
    monkeypatch.setattr(
        "groundwork.serve.settings_or_exit", lambda: os.environ.pop("PGSERVICE") and SETTINGS
    )
    request.getfixturevalue("options")

    assert "PGSERVICE" not in os.environ


@pytest.mark.usefixtures("options")
def test_garbage_is_collected() -> None:
    """It is off during the imports alone; afterwards it is on, and seldom."""
    assert gc.isenabled()
    assert gc.get_threshold()[0] == 10_000


def test_sockets_of_the_caller_are_served(
    monkeypatch: pytest.MonkeyPatch, listen: Mock, server: Mock
) -> None:
    """`groundwork dev` listens once, so that connections wait while the service restarts."""
    monkeypatch.setattr("groundwork.main.create_app", Mock())
    sockets: list[Any] = [Mock()]
    serve(sockets)

    server.return_value.run.assert_called_once_with(sockets)
    listen.assert_not_called()


@pytest.mark.usefixtures("listen")
def test_a_failed_startup_is_an_error(monkeypatch: pytest.MonkeyPatch, server: Mock) -> None:
    """If uvicorn could not start the service, the exit code is 1."""
    monkeypatch.setattr("groundwork.main.create_app", Mock())
    server.return_value.started = False

    with pytest.raises(SystemExit, match="1"):
        serve()
