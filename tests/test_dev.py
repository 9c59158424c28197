"""What `groundwork dev` takes for set, and what it tells uvicorn."""

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
    """Give uvicorn's reloader, which is only made; nothing is migrated, no signal is taken."""
    monkeypatch.setattr(signal, "signal", Mock())
    monkeypatch.setattr(dev, "migrate", Mock())
    made = Mock()
    monkeypatch.setattr(dev, "ChangeReload", Mock(return_value=made))
    return made


@pytest.fixture
def config(reloader: Mock, monkeypatch: pytest.MonkeyPatch) -> Mock:  # noqa: ARG001 - it is told
    """Give what is told to uvicorn."""
    monkeypatch.setattr(uvicorn, "Config", config := Mock())
    monkeypatch.setattr(uvicorn, "Server", Mock())
    return config


def started(**environment: str) -> dict[str, str]:
    """Return the environment of what it serves, started in this one."""
    with patch.dict(os.environ, {"DATABASE_URL": "postgresql://"} | environment):
        dev.dev()
        return dict(os.environ)


def test_its_defaults_are_for_people(config: Mock) -> None:
    """The log is text, and a stop waits for no balancer."""
    environment = started()

    assert environment["LOG_JSON"] == "false"
    assert environment["SHUTDOWN_DRAIN_SECONDS"] == "0"
    config.assert_called_once()


@pytest.mark.parametrize("name", ["LOG_JSON", "LOG_JSON_FILE"])
@pytest.mark.usefixtures("config")
def test_what_is_set_wins(name: str, tmp_path: Path) -> None:
    """A default of its own gives way to the environment, to .env, and to a file of either."""
    (tmp_path / "on").write_text("true")
    value = str(tmp_path / "on") if name.endswith("_FILE") else "true"

    assert started(**{name: value}).get("LOG_JSON") != "false"
    (tmp_path / ".env").write_text(f"{name}={value}\n")
    assert "LOG_JSON" not in started()


def test_it_serves_with_reload(config: Mock) -> None:
    """What it serves is made anew when the package or its SQL changes, and stops at once."""
    started(HOST="::1", PORT="1234")

    assert config.call_args.args == ("groundwork.main:create_app",)
    told = config.call_args.kwargs
    assert (told["host"], told["port"]) == ("::1", 1234)
    assert told["factory"]
    assert told["reload"]
    assert {Path(one) for one in told["reload_dirs"]} == {Path(dev.__file__).parent, SQL_DIR}
    assert set(told["reload_includes"]) == {"*.py", "*.sql", "*.html"}
    assert told["timeout_graceful_shutdown"] == 1
    assert told["timeout_keep_alive"] == 75


def test_it_serves_as_production_does(config: Mock) -> None:
    """No WebSocket is taken, a lifespan that fails ends it, and no server is named."""
    started()

    told = config.call_args.kwargs
    assert (told["ws"], told["lifespan"]) == ("none", "on")
    assert told["server_header"] is False
    assert told["log_level"] == "warning"  # the command says itself where it serves


@pytest.mark.usefixtures("config")
def test_a_signal_waits_for_no_lock(reloader: Mock) -> None:
    """A stop goes through where it comes while the reloader holds the lock of its own event."""
    event = threading.Event()
    reloader.signal_handler = lambda *_: event.set()
    started()
    caller = threading.Thread(target=reloader.signal_handler, args=(15, None), daemon=True)
    with vars(event)["_cond"]:  # the moment that it takes luck to meet
        caller.start()
        caller.join(2)
        assert not caller.is_alive()

    assert event.wait(2)


@pytest.fixture
def port(reloader: Mock, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:  # noqa: ARG001
    """Give PORT, which is free, and no DATABASE_URL: it would start a PostgreSQL of its own."""
    monkeypatch.setenv("PORT", str(port := free_port()))
    with patch.dict(os.environ):
        yield port


@pytest.mark.usefixtures("port")
def test_it_runs_once_a_folder() -> None:
    """A second one in the same folder is told so."""
    dev.HOME.mkdir()
    with (
        only_one(),
        pytest.raises(SystemExit, match="already runs in this folder"),
    ):
        dev.dev()


def test_a_taken_port_is_refused(port: int) -> None:
    """It is told so before PostgreSQL is started."""
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(SystemExit, match=f":{port} can't be used: Address already in use"),
    ):
        dev.dev()


def test_the_database_has_time_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that its fast shutdown ends is told nothing else, and has nothing to recover."""
    pid_file = tmp_path / "postmaster.pid"
    pid_file.write_text("4711\n")
    monkeypatch.setattr(os, "kill", kill := Mock())
    monkeypatch.setattr("time.sleep", lambda _: pid_file.unlink())
    stop(pid_file)

    kill.assert_called_once_with(4711, signal.SIGINT)
