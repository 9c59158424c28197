"""`groundwork dev`: its defaults, and the options that it gives uvicorn."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock, patch

import pytest
import uvicorn

from groundwork import dev
from groundwork.core.database.connections import SQL_DIR
from groundwork.dev import _only_one as only_one
from groundwork.dev import _stop as stop
from tests.servers import free_port


@pytest.fixture
def reloader(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Replace uvicorn's reloader, the migrations and the signal handlers by mocks."""
    monkeypatch.setattr(signal, "signal", Mock())
    monkeypatch.setattr(dev, "migrate", Mock())
    made = Mock()
    monkeypatch.setattr(dev, "ChangeReload", Mock(return_value=made))
    return made


@pytest.fixture
def config(reloader: Mock, monkeypatch: pytest.MonkeyPatch) -> Mock:  # noqa: ARG001 - used indirectly
    """Replace uvicorn.Config by a mock, which records the options."""
    monkeypatch.setattr(uvicorn, "Config", config := Mock())
    monkeypatch.setattr(uvicorn, "Server", Mock())
    return config


def started(**environment: str) -> dict[str, str]:
    """Run the command with these variables; return the environment of the service."""
    with patch.dict(os.environ, {"DATABASE_URL": "postgresql://"} | environment):
        dev.dev()
        return dict(os.environ)


def test_the_defaults_suit_development(config: Mock) -> None:
    """Logs are readable text, and shutdown does not wait for a load balancer."""
    environment = started()

    assert environment["LOG_JSON"] == "false"
    assert environment["SHUTDOWN_DRAIN_SECONDS"] == "0"
    config.assert_called_once()


@pytest.mark.parametrize("name", ["LOG_JSON", "LOG_JSON_FILE"])
@pytest.mark.usefixtures("config")
def test_explicit_settings_win(name: str, tmp_path: Path) -> None:
    """The environment, .env, and NAME_FILE in either win over the command's defaults."""
    (tmp_path / "on").write_text("true")
    value = str(tmp_path / "on") if name.endswith("_FILE") else "true"

    assert started(**{name: value}).get("LOG_JSON") != "false"
    (tmp_path / ".env").write_text(f"{name}={value}\n")
    assert "LOG_JSON" not in started()


def test_it_serves_with_reload(config: Mock) -> None:
    """The service reloads when the package or its SQL changes, and shuts down at once."""
    started(HOST="::1", PORT="1234")

    assert config.call_args.args == ("groundwork.main:create_app",)
    options = config.call_args.kwargs
    assert (options["host"], options["port"]) == ("::1", 1234)
    assert options["factory"]
    assert options["reload"]
    assert {Path(one) for one in options["reload_dirs"]} == {Path(dev.__file__).parent, SQL_DIR}
    assert set(options["reload_includes"]) == {"*.py", "*.sql", "*.html"}
    assert options["timeout_graceful_shutdown"] == 1
    assert options["timeout_keep_alive"] == 75


def test_it_serves_as_production_does(config: Mock) -> None:
    """WebSockets are off, a failed lifespan is an error, and there is no Server header."""
    started()

    options = config.call_args.kwargs
    assert (options["ws"], options["lifespan"]) == ("none", "on")
    assert options["server_header"] is False
    assert options["log_level"] == "warning"  # the command prints the URLs itself


@pytest.mark.usefixtures("config")
def test_a_signal_does_not_deadlock_the_reloader(reloader: Mock) -> None:
    """A signal is handled also while the reloader holds the lock of its event."""
    event = threading.Event()
    reloader.signal_handler = lambda *_: event.set()
    started()
    caller = threading.Thread(target=reloader.signal_handler, args=(15, None), daemon=True)
    with vars(event)["_cond"]:  # the moment of the race
        caller.start()
        caller.join(2)
        assert not caller.is_alive()

    assert event.wait(2)


@pytest.fixture
def port(reloader: Mock, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:  # noqa: ARG001
    """Set PORT to a free port, and no DATABASE_URL: the command would start PostgreSQL."""
    monkeypatch.setenv("PORT", str(port := free_port()))
    with patch.dict(os.environ):
        yield port


@pytest.mark.usefixtures("port")
def test_it_runs_once_per_folder() -> None:
    """A second instance in the same folder exits with a message."""
    dev.HOME.mkdir()
    with (
        only_one(),
        pytest.raises(SystemExit, match="already runs in this folder"),
    ):
        dev.dev()


def test_a_port_in_use_is_an_error(port: int) -> None:
    """If the port is in use, the command says so before it starts PostgreSQL."""
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(SystemExit, match=f":{port} can't be used: Address already in use"),
    ):
        dev.dev()


def test_postgres_has_time_for_a_fast_shutdown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that stops by its fast shutdown gets no other signal."""
    pid_file = tmp_path / "postmaster.pid"
    pid_file.write_text("4711\n")
    monkeypatch.setattr(os, "kill", kill := Mock())
    monkeypatch.setattr("time.sleep", lambda _: pid_file.unlink())
    stop(pid_file)

    kill.assert_called_once_with(4711, signal.SIGINT)
