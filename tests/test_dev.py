"""The environment that `groundwork dev` serves in, and how it reloads."""

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from unittest.mock import MagicMock, Mock, call, patch

import pytest

from groundwork import dev
from groundwork.core.config import settings_or_exit
from groundwork.core.database.connections import SQL_DIR
from groundwork.core.environment import DEV_DATABASE_URL
from groundwork.dev import _child as run_child
from groundwork.dev import _database as database
from groundwork.dev import _leave as leave
from groundwork.dev import _reload as reload


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Replace signal.signal(), so that the tests keep their handlers."""
    monkeypatch.setattr(signal, "signal", handle := Mock())
    return handle


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, handle: Mock) -> Mock:  # noqa: ARG001
    """Replace the reloader; no migration is applied, and no socket made."""
    monkeypatch.setattr(dev, "migrate", Mock())
    monkeypatch.setattr(dev, "listen", Mock(return_value=[]))
    monkeypatch.setattr(dev, "_reload", served := Mock(side_effect=KeyboardInterrupt))
    monkeypatch.setenv("PORT", "8111")
    return served


def environment_of(**environment: str) -> dict[str, str]:
    """Run `groundwork dev` in this environment, and return the one of the service."""
    with patch.dict(os.environ, {"DATABASE_URL": "postgresql://"} | environment):
        dev.dev()
        return dict(os.environ)


@pytest.mark.usefixtures("served")
def test_its_defaults_are_for_developers() -> None:
    """DEBUG is on, the log is text, and shutdown waits for no balancer and for no slow request."""
    with patch.dict(os.environ, environment_of()):
        settings = settings_or_exit()

    assert (settings.debug, settings.log_json) == (True, False)
    assert (settings.shutdown_drain_seconds, settings.shutdown_grace_seconds) == (0, 1)


@pytest.mark.parametrize("name", ["LOG_JSON", "LOG_JSON_FILE"])
@pytest.mark.usefixtures("served")
def test_settings_win_over_its_defaults(name: str, tmp_path: Path) -> None:
    """A default gives way to the environment, to `.env`, and to a file of either."""
    (tmp_path / "on").write_text("true")
    value = str(tmp_path / "on") if name.endswith("_FILE") else "true"

    assert environment_of(**{name: value}).get("LOG_JSON") != "false"
    (tmp_path / ".env").write_text(f"{name}={value}\n")
    assert "LOG_JSON" not in environment_of()


@pytest.mark.usefixtures("served")
def test_a_file_it_cannot_read_has_no_default(capfd: pytest.CaptureFixture[str]) -> None:
    """The message names the file, and not a default that would be set beside it."""
    with pytest.raises(SystemExit, match="2"):
        environment_of(LOG_JSON_FILE="/nowhere")

    assert "LOG_JSON: LOG_JSON_FILE: The file cannot be read" in capfd.readouterr().err


@pytest.mark.usefixtures("served")
def test_a_subfolder_has_no_database_of_its_own(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the checkout instead, whose `.env` and database it would miss."""
    monkeypatch.chdir(SQL_DIR)
    with pytest.raises(SystemExit, match="2"):
        environment_of()

    assert f"run `groundwork dev` in {SQL_DIR.parent}\n" in capfd.readouterr().err


@pytest.mark.usefixtures("served")
def test_what_libpq_reads_counts_for_your_own_server() -> None:
    """With DATABASE_URL, PG* variables are what they are to psql."""
    assert environment_of(PGPASSWORD="own")["PGPASSWORD"] == "own"


class Watch:
    """Replaces what watches the files: they change once, then a signal comes."""

    def __init__(self, *folders: Path) -> None:
        self.folders = folders
        self.changes = iter([{(1, "groundwork/x.sql")}])

    def __next__(self) -> set[tuple[int, str]]:
        for change in self.changes:
            return change
        raise KeyboardInterrupt


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Replace the processes that serve, and the watching of files."""
    monkeypatch.setattr("watchfiles.watch", Mock(side_effect=Watch))
    monkeypatch.setattr(multiprocessing, "get_context", context := Mock())
    process: Mock = context.return_value.Process
    return process


def test_it_reloads_when_a_file_changes(children: Mock, capfd: pytest.CaptureFixture[str]) -> None:
    """A change in the package or in sql/ ends the service and starts it again."""
    with pytest.raises(KeyboardInterrupt):
        reload(sockets := Mock())

    started = call(target=run_child, args=(sockets,), daemon=True)
    once = [started, call().start(), call().terminate(), call().join()]
    assert children.mock_calls == once * 2
    assert capfd.readouterr().out == "reload     groundwork/x.sql\n"
    assert logging.getLogger("watchfiles").level == logging.WARNING
    watch = sys.modules["watchfiles"].watch
    assert watch.mock_calls == [call(Path(dev.__file__).parent, SQL_DIR)]


def test_ctrl_c_does_not_interrupt_the_service(children: Mock) -> None:
    """The service starts with SIGINT blocked, so no import is cut off; SIGTERM ends it."""
    blocked: list[bool] = []

    def start() -> None:
        resource_tracker.ensure_running()  # as multiprocessing does
        blocked.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set()))

    children.return_value.start = start
    with pytest.raises(KeyboardInterrupt):
        reload(Mock())

    assert blocked == [True, True]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())


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
    served: Mock,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    host: str,
    url: str,
) -> None:
    """It listens on HOST until it ends, and prints a URL that a browser opens."""
    one = socket.socket()
    monkeypatch.setattr(dev, "listen", listen := Mock(return_value=[one]))
    environment_of(HOST=host)

    assert f" {url}8111/ " in capfd.readouterr().out
    assert served.call_args.args[0] == [one]
    assert one.fileno() == -1
    listen.assert_called_once_with(host, 8111)


@pytest.mark.parametrize("found", [signal.SIG_IGN, signal.SIG_DFL])
@pytest.mark.usefixtures("served")
def test_it_takes_signals_before_it_serves(
    handle: Mock, monkeypatch: pytest.MonkeyPatch, found: signal.Handlers
) -> None:
    """From its first moment a signal ends it; SIGHUP too, unless ignored."""
    monkeypatch.setattr(signal, "getsignal", lambda _: found)
    environment_of()

    taken = {one.args[0] for one in handle.mock_calls}
    assert taken >= {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
    assert (signal.SIGHUP in taken) is (found is signal.SIG_DFL)


@pytest.mark.parametrize("source", ["environment", ".env"])
def test_it_is_for_development(
    source: str, monkeypatch: pytest.MonkeyPatch, handle: Mock, capfd: pytest.CaptureFixture[str]
) -> None:
    """With another ENVIRONMENT it exits with 2 and says so."""
    if source == ".env":
        Path(".env").write_text("ENVIRONMENT=staging")
    else:
        monkeypatch.setenv("ENVIRONMENT", "production")

    with pytest.raises(SystemExit, match="2"):
        dev.dev()
    assert "is for ENVIRONMENT=development" in capfd.readouterr().err
    handle.assert_called()


@pytest.fixture
def postgres(served: Mock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mock]:  # noqa: ARG001
    """Replace the embedded PostgreSQL."""
    monkeypatch.setattr(dev, "postgres", postgres := MagicMock())
    postgres.return_value.__enter__.return_value = "postgresql:///dev"
    with patch.dict(os.environ):
        yield postgres


def test_other_commands_find_its_database(postgres: Mock, served: Mock) -> None:
    """While it runs, a file has the address."""
    seen: list[str] = []
    served.side_effect = lambda *_: seen.append(DEV_DATABASE_URL.read_text())
    dev.dev()

    assert seen == ["postgresql:///dev"] == [os.environ["DATABASE_URL"]]
    assert not DEV_DATABASE_URL.exists()
    postgres.assert_called_once_with(dev.HOME / "postgres")


@pytest.mark.usefixtures("postgres")
def test_its_address_may_be_deleted_while_it_runs(served: Mock) -> None:
    """Whoever deletes .groundwork too early sees no traceback when it ends."""
    served.side_effect = lambda *_: DEV_DATABASE_URL.unlink()
    dev.dev()

    assert not DEV_DATABASE_URL.exists()


@pytest.mark.usefixtures("postgres", "served")
def test_variables_for_another_server_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """PG* variables, which libpq may even refuse, are not for its own PostgreSQL."""
    monkeypatch.setenv("PGPORT", "x")
    monkeypatch.setenv("PGSERVICE", "another")

    dev.dev()

    assert [name for name in os.environ if name.startswith("PG")] == []


@pytest.mark.usefixtures("postgres")
def test_a_user_without_a_name_is_told_nothing_of_database_url(
    served: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A UID without a passwd entry, as in a container, gets as far as PostgreSQL lets it."""
    monkeypatch.setattr("pwd.getpwuid", Mock(side_effect=KeyError))
    dev.dev()

    served.assert_called_once()


@pytest.mark.usefixtures("postgres")
def test_a_refused_migration_stops_nothing(
    served: Mock, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """If the migrations are refused, it says what to do, and serves so that this works."""
    monkeypatch.setattr(dev, "migrate", Mock(side_effect=SystemExit("0003.x has changed")))
    dev.dev()

    out = capfd.readouterr().out
    assert "0003.x has changed" in out
    assert "yoyo rollback --revision" in out
    served.assert_called_once()


@pytest.mark.usefixtures("postgres")
def test_it_runs_once_a_folder(capfd: pytest.CaptureFixture[str]) -> None:
    """A second one in the same folder exits with 2."""
    with database(), pytest.raises(SystemExit, match="2"):
        dev.dev()

    assert "already runs in this folder" in capfd.readouterr().err


@pytest.mark.usefixtures("served")
def test_a_taken_port_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The port is checked before PostgreSQL is started."""
    monkeypatch.setattr(dev, "listen", Mock(side_effect=SystemExit(2)))
    with patch.dict(os.environ), pytest.raises(SystemExit, match="2"):
        dev.dev()

    assert not dev.HOME.exists()


def test_the_service_ends_with_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """If `groundwork dev` is gone, killed for instance, the service gets SIGTERM."""
    parent, killed = Mock(), threading.Event()
    monkeypatch.setattr("multiprocessing.parent_process", lambda: parent)
    monkeypatch.setattr(os, "kill", kill := Mock(side_effect=lambda *_: killed.set()))
    monkeypatch.setattr(dev, "serve", serve := Mock())
    run_child(sockets := Mock())

    assert killed.wait(20)
    kill.assert_called_once_with(os.getpid(), signal.SIGTERM)
    parent.join.assert_called_once_with()
    serve.assert_called_once_with(sockets)


def test_a_second_ctrl_c_does_no_harm(handle: Mock) -> None:
    """During shutdown, further signals must not leave PostgreSQL behind."""
    with pytest.raises(SystemExit, match="0"):
        leave()

    assert handle.mock_calls == [call(number, signal.SIG_IGN) for number in (15, 2, 1, 3)]
