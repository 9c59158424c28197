"""The environment that `groundwork dev` serves in, and what it passes to uvicorn."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import MagicMock, Mock, call, patch

import pytest
import uvicorn

from groundwork import dev
from groundwork.core.database.connections import SQL_DIR
from groundwork.core.environment import DEV_DATABASE_URL
from groundwork.dev import _leave as leave
from groundwork.dev import _only_one as only_one
from groundwork.dev import _Reloader as Reloader
from groundwork.dev import _run as run_child


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Replace signal.signal(), so that the tests keep their handlers."""
    monkeypatch.setattr(signal, "signal", handle := Mock())
    return handle


@pytest.fixture
def reloader(monkeypatch: pytest.MonkeyPatch, handle: Mock) -> Mock:  # noqa: ARG001
    """Replace uvicorn's reloader; no migration is applied, and no socket made."""
    monkeypatch.setattr(dev, "migrate", Mock())
    monkeypatch.setattr(dev, "listen", Mock())
    monkeypatch.setattr(dev, "_Reloader", reloader := Mock())
    monkeypatch.setenv("PORT", "8111")
    return reloader


@pytest.fixture
def config(reloader: Mock, monkeypatch: pytest.MonkeyPatch) -> Mock:  # noqa: ARG001
    """Replace uvicorn's configuration."""
    monkeypatch.setattr(uvicorn, "Config", config := Mock())
    return config


def environment_of(**environment: str) -> dict[str, str]:
    """Run `groundwork dev` in this environment, and return the one of the service."""
    with patch.dict(os.environ, {"DATABASE_URL": "postgresql://"} | environment):
        dev.dev()
        return dict(os.environ)


def test_its_defaults_are_for_developers(config: Mock) -> None:
    """DEBUG is on, the log is text, and shutdown waits for no balancer."""
    environment = environment_of()

    assert environment["DEBUG"] == "true"
    assert environment["LOG_JSON"] == "false"
    assert environment["SHUTDOWN_DRAIN_SECONDS"] == "0"
    config.assert_called_once()


@pytest.mark.parametrize("name", ["LOG_JSON", "LOG_JSON_FILE"])
@pytest.mark.usefixtures("config")
def test_settings_win_over_its_defaults(name: str, tmp_path: Path) -> None:
    """A default gives way to the environment, to `.env`, and to a file of either."""
    (tmp_path / "on").write_text("true")
    value = str(tmp_path / "on") if name.endswith("_FILE") else "true"

    assert environment_of(**{name: value}).get("LOG_JSON") != "false"
    (tmp_path / ".env").write_text(f"{name}={value}\n")
    assert "LOG_JSON" not in environment_of()


def test_it_reloads_what_the_service_reads(config: Mock) -> None:
    """The service restarts when its code, SQL, pages or API description change."""
    environment_of()

    assert config.call_args.args == ("groundwork.main:create_app",)
    options = config.call_args.kwargs
    assert options["factory"]
    assert options["reload"]
    assert {Path(one) for one in options["reload_dirs"]} == {Path(dev.__file__).parent, SQL_DIR}
    suffixes = {"*.py", "*.sql", "*.html", "*.json", "*.js", "*.css"}
    assert set(options["reload_includes"]) == suffixes
    assert options["timeout_graceful_shutdown"] == 1
    assert options["timeout_keep_alive"] == 75


def test_it_serves_as_production_does(config: Mock) -> None:
    """One process, no WebSocket, no Server header; a failed lifespan ends it."""
    environment_of(WEB_CONCURRENCY="auto")

    options = config.call_args.kwargs
    assert (options["ws"], options["lifespan"], options["workers"]) == ("none", "on", 1)
    assert options["server_header"] is False
    assert options["log_config"] is None


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("::1", "http://[::1]:"),
        ("0.0.0.0", "http://127.0.0.1:"),  # noqa: S104 - as set
        ("::", "http://localhost:"),
        ("127.0.0.1", "http://127.0.0.1:"),
    ],
)
def test_its_url_opens(
    reloader: Mock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    host: str,
    url: str,
) -> None:
    """It listens on HOST, and prints a URL that a browser opens."""
    monkeypatch.setattr(dev, "listen", listen := Mock())
    environment_of(HOST=host)

    assert f" {url}8111/ " in capsys.readouterr().out
    assert reloader.call_args.kwargs["sockets"] is listen.return_value
    listen.assert_called_once_with(host, 8111)


@pytest.fixture
def own_reloader(handle: Mock, monkeypatch: pytest.MonkeyPatch) -> Reloader:  # noqa: ARG001
    """Return the reloader, which starts no process."""
    monkeypatch.setattr("uvicorn.supervisors.basereload.get_subprocess", Mock())
    config = Mock(reload_dirs=[], reload_includes=[], reload_excludes=[])
    return Reloader(config, target=Mock(), sockets=[])


def test_a_signal_waits_for_no_lock(own_reloader: Reloader) -> None:
    """A signal ends it even while the reloader holds the lock of its own event."""
    event = own_reloader.should_exit
    with vars(event)["_cond"]:  # the moment that it takes luck to meet
        caller = threading.Thread(target=own_reloader.signal_handler, args=(15, None), daemon=True)
        caller.start()
        caller.join(2)
        assert not caller.is_alive()

    assert event.wait(2)


@pytest.mark.parametrize("method", ["startup", "restart"])
def test_ctrl_c_does_not_interrupt_the_service(
    own_reloader: Reloader, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """The service starts with SIGINT blocked: the reloader ends it, and no import is cut off."""
    blocked: list[bool] = []

    def start() -> None:
        blocked.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set()))

    process = Mock(start=start)
    monkeypatch.setattr("uvicorn.supervisors.basereload.get_subprocess", lambda **_: process)
    own_reloader.process = process
    getattr(own_reloader, method)()

    assert blocked == [True]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())


@pytest.mark.parametrize("found", [signal.SIG_IGN, signal.SIG_DFL])
def test_it_outlives_its_terminal_under_nohup(
    own_reloader: Reloader, handle: Mock, monkeypatch: pytest.MonkeyPatch, found: signal.Handlers
) -> None:
    """SIGHUP ends it, unless it was ignored from the start."""
    monkeypatch.setattr(signal, "getsignal", lambda _: found)
    own_reloader.startup()

    taken = {one.args[0] for one in handle.mock_calls}
    assert (signal.SIGHUP in taken) is (found is signal.SIG_DFL)
    assert taken >= {signal.SIGTERM, signal.SIGINT}


@pytest.mark.parametrize("found", [signal.SIG_IGN, signal.SIG_DFL])
@pytest.mark.usefixtures("config")
def test_it_takes_signals_before_it_serves(
    handle: Mock, monkeypatch: pytest.MonkeyPatch, found: signal.Handlers
) -> None:
    """From its first moment a signal ends it; SIGHUP too, unless ignored."""
    monkeypatch.setattr(signal, "getsignal", lambda _: found)
    environment_of()

    taken = {one.args[0] for one in handle.mock_calls}
    assert taken >= {signal.SIGTERM, signal.SIGINT}
    assert (signal.SIGHUP in taken) is (found is signal.SIG_DFL)


@pytest.mark.parametrize("source", ["environment", ".env"])
def test_it_is_for_development(
    source: str, monkeypatch: pytest.MonkeyPatch, handle: Mock, capsys: pytest.CaptureFixture[str]
) -> None:
    """With another ENVIRONMENT it exits with 2 and says so."""
    if source == ".env":
        Path(".env").write_text("ENVIRONMENT=staging")
    else:
        monkeypatch.setenv("ENVIRONMENT", "production")

    with pytest.raises(SystemExit, match="2"):
        dev.dev()
    assert "is for ENVIRONMENT=development" in capsys.readouterr().err
    handle.assert_called()


@pytest.fixture
def postgres(reloader: Mock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mock]:  # noqa: ARG001
    """Replace the embedded PostgreSQL."""
    monkeypatch.setattr(dev, "postgres", postgres := MagicMock())
    postgres.return_value.__enter__.return_value = "postgresql:///dev"
    with patch.dict(os.environ):
        yield postgres


def test_other_commands_find_its_database(postgres: Mock, reloader: Mock) -> None:
    """While it runs, a file has the address."""
    seen: list[str] = []
    reloader.return_value.run = lambda: seen.append(DEV_DATABASE_URL.read_text())
    dev.dev()

    assert seen == ["postgresql:///dev"] == [os.environ["DATABASE_URL"]]
    assert not DEV_DATABASE_URL.exists()
    postgres.assert_called_once_with(dev.HOME / "postgres")


@pytest.mark.usefixtures("postgres")
def test_a_refused_migration_stops_nothing(
    reloader: Mock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the migrations are refused, it says what to do, and serves so that this works."""
    monkeypatch.setattr(dev, "migrate", Mock(side_effect=SystemExit("0003.x has changed")))
    dev.dev()

    out = capsys.readouterr().out
    assert "0003.x has changed" in out
    assert "yoyo rollback --revision" in out
    reloader.return_value.run.assert_called_once_with()


@pytest.mark.usefixtures("reloader")
def test_it_runs_once_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    """A second one in the same folder exits with 2."""
    dev.HOME.mkdir()
    with only_one(), patch.dict(os.environ), pytest.raises(SystemExit, match="2"):
        dev.dev()

    assert "already runs in this folder" in capsys.readouterr().err


@pytest.mark.usefixtures("reloader")
def test_a_folder_that_cannot_be_made_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """One line names the file or folder, and the exit code is 2."""
    dev.HOME.write_text("")
    with patch.dict(os.environ), pytest.raises(SystemExit, match="2"):
        dev.dev()

    assert capsys.readouterr().err == "groundwork: .groundwork: File exists\n"


@pytest.mark.usefixtures("reloader")
def test_a_taken_port_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The port is checked before PostgreSQL is started."""
    monkeypatch.setattr(dev, "listen", Mock(side_effect=SystemExit(2)))
    with patch.dict(os.environ), pytest.raises(SystemExit, match="2"):
        dev.dev()

    assert not dev.HOME.exists()


def test_the_service_ends_with_the_reloader(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the reloader is gone, killed for instance, the service gets SIGTERM."""
    parent, killed = Mock(), threading.Event()
    monkeypatch.setattr("multiprocessing.parent_process", lambda: parent)
    monkeypatch.setattr(os, "kill", kill := Mock(side_effect=lambda *_: killed.set()))
    monkeypatch.setattr(uvicorn, "Server", server := Mock())
    run_child(config := Mock(), sockets := Mock())

    assert killed.wait(2)
    kill.assert_called_once_with(os.getpid(), signal.SIGTERM)
    parent.join.assert_called_once_with()
    server.assert_called_once_with(config)
    server.return_value.run.assert_called_once_with(sockets)


def test_a_second_ctrl_c_does_no_harm(handle: Mock) -> None:
    """During shutdown, further signals must not leave PostgreSQL behind."""
    with pytest.raises(SystemExit, match="0"):
        leave()

    assert handle.mock_calls == [call(number, signal.SIG_IGN) for number in (15, 2, 1)]
