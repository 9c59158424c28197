"""Raw settings: where each comes from, and what is refused before it is parsed."""

import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from groundwork.core.environment import DEV_DATABASE_URL, read_environment, say

UNPRINTABLE = "Contains a line break, a control character, or bytes that are not UTF-8."
NAMES = ("ENVIRONMENT", "DATABASE_URL", "PORT")


def test_values_are_trimmed_wherever_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """White space around a value does not count in a variable, a file or `.env`."""
    Path("port").write_text("\ufeff 8001 \n")
    Path(".env").write_text("DATABASE_URL=' postgresql:// '\n")
    monkeypatch.setenv("PORT_FILE", " port\n")
    monkeypatch.setenv("ENVIRONMENT", "development\n")

    assert read_environment(NAMES) == (
        {"ENVIRONMENT": "development", "PORT": "8001", "DATABASE_URL": "postgresql://"},
        {},
    )


def test_the_environment_wins_setting_by_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable or its NAME_FILE wins over both spellings in `.env`; the rest is kept."""
    Path("port").write_text("8001")
    Path(".env").write_text("PORT=8002\nDATABASE_URL_FILE=nowhere\nENVIRONMENT\n")
    monkeypatch.setenv("PORT_FILE", "port")
    monkeypatch.setenv("DATABASE_URL", "")

    assert read_environment(NAMES) == ({"PORT": "8001", "DATABASE_URL": ""}, {})


@pytest.mark.parametrize("environment", ["production", "staging", "\udcff"])
def test_other_environments_read_no_dotenv(
    monkeypatch: pytest.MonkeyPatch, environment: str
) -> None:
    """`.env` and the database of `groundwork dev` belong to development."""
    Path(".env").write_text("PORT=8002")
    DEV_DATABASE_URL.parent.mkdir()
    DEV_DATABASE_URL.write_text("postgresql://")
    monkeypatch.setenv("ENVIRONMENT", environment)

    assert read_environment(("PORT", "DATABASE_URL", "ENVIRONMENT"))[0].keys() <= {"ENVIRONMENT"}


def test_a_running_dev_gives_the_database() -> None:
    """In development the address of a running `groundwork dev` stands in for DATABASE_URL."""
    DEV_DATABASE_URL.parent.mkdir()
    DEV_DATABASE_URL.write_text("postgresql:///dev")

    assert read_environment(NAMES) == ({"DATABASE_URL": "postgresql:///dev"}, {})
    assert read_environment(NAMES, running_dev=False) == ({}, {})


@pytest.mark.parametrize("own", ["", "DATABASE_URL=postgresql:///mine"])
def test_variables_of_libpq_count_for_your_own_server(
    own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PG* variables, meant for another server, are no part of a running `groundwork dev`'s."""
    monkeypatch.setenv("PGSERVICE", "another")
    DEV_DATABASE_URL.parent.mkdir()
    DEV_DATABASE_URL.write_text("postgresql:///dev")
    Path(".env").write_text(own)

    address = read_environment(NAMES)[0]["DATABASE_URL"]

    assert address == f"postgresql:///{'mine' if own else 'dev'}"
    assert ("PGSERVICE" in os.environ) is bool(own)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("a\nb", UNPRINTABLE),
        ("a\x7f", UNPRINTABLE),
        (os.fsdecode(b"\xff"), UNPRINTABLE),
    ],
)
def test_a_bad_value_is_refused(monkeypatch: pytest.MonkeyPatch, value: str, error: str) -> None:
    """A value is one line of UTF-8; `.env` gives none in its place."""
    Path(".env").write_text("PORT=8001")
    monkeypatch.setenv("PORT", value)

    assert read_environment(NAMES) == ({}, {"PORT": error})


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("nowhere", "The file cannot be read: No such file or directory."),
        ("", "Not a regular file of at most 65536 bytes."),
        ("/dev/zero", "Not a regular file of at most 65536 bytes."),
        ("x" * 5000, "The file cannot be read: File name too long."),
        ("binary", "The file cannot be read: not UTF-8."),
        ("lines", UNPRINTABLE),
    ],
)
def test_a_bad_file_is_refused(monkeypatch: pytest.MonkeyPatch, path: str, error: str) -> None:
    """NAME_FILE is a file of one line; the message names the variable, not the path."""
    Path("binary").write_bytes(b"\xff")
    Path("lines").write_text("a\nb\n")
    monkeypatch.setenv("PORT_FILE", path)

    assert read_environment(NAMES) == ({}, {"PORT": f"PORT_FILE: {error}"})


def test_a_file_without_permission_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that this user may not read is refused like one that is not there."""
    Path(".env").write_text("PORT=1")
    monkeypatch.setattr(
        Path, "read_text", Mock(side_effect=PermissionError(13, "Permission denied"))
    )

    assert read_environment(NAMES) == ({}, {".env": "The file cannot be read: Permission denied."})


def test_both_spellings_in_one_source_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """NAME and NAME_FILE in the environment contradict each other."""
    monkeypatch.setenv("PORT", "8001")
    monkeypatch.setenv("PORT_FILE", "port")

    assert read_environment(NAMES)[1] == {"PORT": "PORT_FILE: PORT is set too; set one of them."}


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"PORT=\xff", "The file cannot be read: not UTF-8."),
        (b"HOST=1\nPORT 8001\n", "Line 2 is not NAME=value."),
    ],
)
def test_a_bad_dotenv_is_refused(content: bytes, error: str) -> None:
    """`.env` is a UTF-8 file of NAME=value; the message has its line and none of its text."""
    Path(".env").write_bytes(content)

    assert read_environment(NAMES) == ({}, {".env": error})


def test_a_folder_is_no_dotenv() -> None:
    """A virtual environment may be called `.env`."""
    Path(".env").mkdir()

    assert read_environment(NAMES) == ({}, {})


def test_a_line_that_is_not_text_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """The name of a file need not be UTF-8: what is not is escaped, and stops nothing."""
    say(os.fsdecode(b"\xff"))

    assert capfd.readouterr().out == "\\udcff\n"
