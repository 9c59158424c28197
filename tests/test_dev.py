"""What `groundwork dev` takes for set, and what it tells uvicorn."""

import os
import signal
from pathlib import Path
from unittest.mock import Mock, patch

import pytest
import uvicorn

from groundwork import dev
from groundwork.core.database import SQL_DIR
from groundwork.dev import _stop as stop


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Give what stands in for uvicorn; nothing is migrated, and no signal is taken."""
    monkeypatch.setattr(signal, "signal", Mock())
    monkeypatch.setattr(dev, "migrate", Mock())
    monkeypatch.setattr(uvicorn, "run", run := Mock())
    return run


def started(**environment: str) -> dict[str, str]:
    """Return the environment of what it serves, started in this one."""
    with patch.dict(os.environ, {"DATABASE_URL": "postgresql://"} | environment):
        dev.dev()
        return dict(os.environ)


def test_its_defaults_are_for_people(run: Mock) -> None:
    """The log is text, and a stop waits for no balancer."""
    environment = started()

    assert environment["LOG_JSON"] == "false"
    assert environment["SHUTDOWN_DRAIN_SECONDS"] == "0"
    run.assert_called_once()


@pytest.mark.parametrize("name", ["LOG_JSON", "LOG_JSON_FILE"])
@pytest.mark.usefixtures("run")
def test_what_is_set_wins(name: str, tmp_path: Path) -> None:
    """A default of its own gives way to the environment, to .env, and to a file of either."""
    (tmp_path / "on").write_text("true")
    value = str(tmp_path / "on") if name.endswith("_FILE") else "true"

    assert started(**{name: value}).get("LOG_JSON") != "false"
    (tmp_path / ".env").write_text(f"{name}={value}\n")
    assert "LOG_JSON" not in started()


def test_it_serves_with_reload(run: Mock) -> None:
    """What it serves is made anew when the package or its SQL changes, and stops at once."""
    started(HOST="::1", PORT="1234")

    assert run.call_args.args == ("groundwork.main:create_app",)
    told = run.call_args.kwargs
    assert (told["host"], told["port"]) == ("::1", 1234)
    assert told["factory"]
    assert told["reload"]
    assert {Path(one) for one in told["reload_dirs"]} == {Path(dev.__file__).parent, SQL_DIR}
    assert set(told["reload_includes"]) == {"*.py", "*.sql", "*.html"}
    assert told["timeout_graceful_shutdown"] == 1


def test_it_serves_as_production_does(run: Mock) -> None:
    """No WebSocket is taken, a lifespan that fails ends it, and no server is named."""
    started()

    told = run.call_args.kwargs
    assert (told["ws"], told["lifespan"]) == ("none", "on")
    assert told["server_header"] is False
    assert told["log_level"] == "warning"  # the command says itself where it serves


def test_the_database_has_time_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that its fast shutdown ends is told nothing else, and has nothing to recover."""
    pid_file = tmp_path / "postmaster.pid"
    pid_file.write_text("4711\n")
    monkeypatch.setattr(os, "kill", kill := Mock())
    monkeypatch.setattr("time.sleep", lambda _: pid_file.unlink())
    stop(pid_file)

    kill.assert_called_once_with(4711, signal.SIGINT)
