"""Every setting with inputs made by rule, given to every command."""

import dataclasses
import http.client
import os
import re
from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock, Mock, patch

import psycopg2
import pytest
from yoyo.scripts.main import main as yoyo

from groundwork import dev, embedded
from groundwork.__main__ import main
from groundwork.core.config import Settings
from tests.databases import CHECKOUT

NAMES = tuple(item.name.upper() for item in dataclasses.fields(Settings))
SECRET = "s3cret-that-no-output-may-have"
VALUES = {
    "as text": SECRET,
    "a newline at its end": f"{SECRET}\n",
    "a newline inside": f"{SECRET}\n{SECRET}",
    "a control character": f"{SECRET}\x1b[2J",
    "quotes": f"\"{SECRET}'",
    "a placeholder": f"{SECRET}%(x)s${{HOME}}{{}}",
    "another script": f"{SECRET}üß漢",
    "not UTF-8": os.fsdecode(SECRET.encode() + b"\xff"),
    "too long": SECRET * 3000,
    "a URL": f"https://user:{SECRET}@host:1/path",
    "a database URL": f"postgresql://user:{SECRET}@host:bad/name",
    "a large number": "9" * 400,
    "a negative number": "-1",
    "not a number": "nan",
    "empty": "",
    "blank": " \t ",
}
FILES = {
    "a wrong path": f"/nowhere/{SECRET}",
    "a directory": ".",
    "a long path": SECRET * 300,
    "an empty path": "",
    "a binary file": "binary",
    "an empty file": "empty",
    "a pipe": "pipe",
    "a device without end": "/dev/zero",
    "a large file": "large",
}
DOTENVS = {
    "not UTF-8": SECRET.encode() + b"=\xff",
    "not NAME=value": f"export\n'{SECRET}\n".encode(),
    "a null byte": b"PORT=1\0",
    "a long value": b"PORT=" + SECRET.encode() * 2000,
}
NOT_A_LINE = {VALUES[kind] for kind in ("a newline inside", "a control character", "not UTF-8")}
type Run = Callable[[], object]
COMMANDS: dict[str, Run] = {
    "serve": lambda: main(["serve"]),
    "migrate": lambda: main(["migrate"]),
    "psql": lambda: main(["psql"]),
    "dev": lambda: main(["dev"]),
}


def run_yoyo() -> object:
    """Run `yoyo list`, which takes a while to start."""
    return yoyo(["list", "--config", str(CHECKOUT / "yoyo.ini")])


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut the commands off from what their settings would reach."""
    Path("binary").write_bytes(SECRET.encode() + b"\xff")
    Path("empty").write_text("")
    Path("large").write_text(f"{SECRET}\n{' ' * 65_536}")
    os.mkfifo("pipe")
    unreachable = Mock(side_effect=psycopg2.OperationalError("unreachable"))
    monkeypatch.setattr("groundwork.core.database.migration_backend.Session", unreachable)
    monkeypatch.setattr("groundwork.serve.listen", Mock(side_effect=SystemExit))
    monkeypatch.setattr("signal.signal", Mock())
    monkeypatch.setattr(os, "execve", Mock())
    monkeypatch.setattr(dev, "listen", Mock(return_value=[]))
    monkeypatch.setattr(dev, "postgres", MagicMock())
    monkeypatch.setattr(dev, "_serve", Mock())
    monkeypatch.setattr(http.client, "HTTPConnection", Mock(side_effect=OSError("refused")))
    monkeypatch.setenv("DATABASE_URL", f"postgresql://user:{SECRET}@host/name")


def outcome(run: Run, capfd: pytest.CaptureFixture[str]) -> tuple[bool, str]:
    """Run a command; return whether it took its settings, and what it printed of them."""
    kept = dict(os.environ)
    try:
        run()
        code = None
    except SystemExit as error:
        code = error.code
    except psycopg2.OperationalError:
        code = 1
    finally:
        os.environ.clear()
        os.environ.update(kept)
    captured = capfd.readouterr()
    assert SECRET not in captured.out + captured.err
    assert "Traceback" not in captured.out + captured.err
    return code != 2, captured.err if code == 2 else ""


def check_all(capfd: pytest.CaptureFixture[str], name: str, **environment: str) -> bool:
    """Give all commands this environment, and return whether they take it.

    They all do, or all refuse it with the same message: one line with the name of the setting.
    """
    commands = COMMANDS | ({"yoyo": run_yoyo} if name == "PORT" else {})
    with patch.dict(os.environ, environment):
        if name not in environment:
            os.environ.pop(name, None)
        found = {command: outcome(run, capfd) for command, run in commands.items()}

    taken, message = found["serve"]
    assert found == dict.fromkeys(found, (taken, message))
    assert taken or re.fullmatch(f"groundwork: {re.escape(name)}: .*\n", message)
    return taken


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_values(capfd: pytest.CaptureFixture[str], value: str) -> None:
    """All commands read a variable alike; what is not one line of UTF-8 is refused."""
    taken = [name for name in NAMES if check_all(capfd, name, **{name: value})]

    if value in NOT_A_LINE:
        assert taken == []


@pytest.mark.parametrize("path", FILES.values(), ids=FILES.keys())
def test_files(capfd: pytest.CaptureFixture[str], path: str) -> None:
    """All commands read NAME_FILE alike; what is not a file of text is refused."""
    taken = [name for name in NAMES if check_all(capfd, name, **{f"{name}_FILE": path})]

    assert taken == (["OPS_TOKEN", "CORS_ALLOW_ORIGINS"] if path == "empty" else [])


def test_both_spellings(capfd: pytest.CaptureFixture[str]) -> None:
    """All commands refuse NAME and NAME_FILE in one source."""
    for name in NAMES:
        assert not check_all(capfd, name, **{name: SECRET, f"{name}_FILE": "empty"})


@pytest.mark.parametrize("content", DOTENVS.values(), ids=DOTENVS.keys())
def test_dotenvs(capfd: pytest.CaptureFixture[str], content: bytes) -> None:
    """All commands refuse an `.env` that cannot be read, in one line with its name."""
    Path(".env").write_bytes(content)

    assert not check_all(capfd, "PORT" if content.startswith(b"PORT") else ".env")


@pytest.mark.parametrize("target", ["pipe", "/dev/zero", "large", "nowhere"])
def test_dotenvs_that_are_no_files(capfd: pytest.CaptureFixture[str], target: str) -> None:
    """All commands refuse an `.env` that is not a file of some text."""
    Path(".env").symlink_to(target)

    assert not check_all(capfd, ".env")


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_the_probe_reads_as_serve_does(capfd: pytest.CaptureFixture[str], value: str) -> None:
    """`groundwork probe` refuses a HOST and a PORT that `serve` refuses."""
    for name in ("HOST", "PORT"):
        taken = check_all(capfd, name, **{name: value})
        with patch.dict(os.environ, {name: value}):
            assert outcome(lambda: main(["probe"]), capfd)[0] is taken


@pytest.mark.parametrize(
    "path", [".", "postgres", "lock/x", "postgres.log/x", "database_url/x"], ids=str
)
def test_what_is_in_the_way_of_dev(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A file in place of a folder, or the reverse, is one line of `dev` with its name."""
    monkeypatch.setattr(dev, "postgres", embedded.postgres)
    monkeypatch.delenv("DATABASE_URL")
    file = Path(os.path.normpath(f".groundwork/{path}"))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("")

    taken, message = outcome(lambda: main(["dev"]), capfd)

    assert not taken
    assert re.fullmatch(rf"groundwork: .*{path.strip('./x')}'; to start from .*\n", message)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_variables_of_others(capfd: pytest.CaptureFixture[str], value: str) -> None:
    """What libraries and platforms read is no setting, and stops no command."""
    for name in ("WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "UVICORN_PORT", "LC_ALL", "TZ"):
        assert check_all(capfd, name, **{name: value})
