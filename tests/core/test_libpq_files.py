"""libpq's password file, as psql reads it, and the files for TLS."""

import os
from pathlib import Path

import pytest

from groundwork.core.libpq_files import add_service, find_password, translate_tls, unreadable_file

PARTS = {"user": "u", "dbname": "d"}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the password file of this user, empty."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (path := tmp_path / ".pgpass").touch(mode=0o600)
    return path


@pytest.mark.parametrize(
    ("lines", "host", "password"),
    [
        (b"h:5432:d:u:first\n*:*:*:*:second", "h", "first"),
        (b"other:*:*:*:no\n*:5432:d:*:a b ", "h", "a b "),
        (b"#h:5432:d:u:no\n\nxx\n\xff\xfe\nh:5432:d:u:yes\r\n", "h", "yes"),
        (rb"h:5432:d:u:a\:b\\c\d", "h", r"a:b\cd"),
        (b"h:5432:d:u:a\\", "h", "a\\"),
        (b"h:5432:d:u:a:b", "h", "a"),
        (b"h:5432:d:u:\n*:*:*:*:no", "h", ""),
        ("h:5432:d:u:süß".encode(), "h", "süß"),
        (rb"\:\:1:5432:d:u:six", "::1", "six"),
        (b"localhost:*:*:*:local", "/var/run/postgresql", "local"),
        (b"localhost:*:*:*:local", "/tmp", "local"),  # noqa: S108 - libpq's default
        (b"localhost:*:*:*:local", "", "local"),
        (b"/run/mine:*:*:*:mine", "/run/mine", "mine"),
        (b"h:5433:d:u:no\nh:5432:e:u:no\nh:5432:d:v:no", "h", None),
    ],
)
def test_the_first_line_that_fits_has_the_password(
    file: Path, lines: bytes, host: str, password: str | None
) -> None:
    """A field is * or the server's; a backslash escapes a character."""
    file.write_bytes(lines)

    assert find_password(PARTS, host, 5432) == password


@pytest.mark.parametrize("mode", [0o640, 0o610, 0o604, 0o601])
def test_a_file_that_others_may_read_is_ignored(file: Path, mode: int) -> None:
    """As psql does, and so is a pipe, or a file that does not exist."""
    file.write_text("*:*:*:*:secret")
    file.chmod(mode)
    os.mkfifo(pipe := file.with_name("pipe"), 0o600)

    assert find_password(PARTS, "h", 5432) is None
    assert find_password(PARTS | {"passfile": str(pipe)}, "h", 5432) is None
    assert find_password(PARTS | {"passfile": "/nowhere"}, "h", 5432) is None


def test_the_database_has_the_name_of_the_user(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without dbname and PGDATABASE; PGPASSFILE names another file."""
    file.rename(tmp_path / "mine")
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "mine"))
    (tmp_path / "mine").write_text("h:1:u:u:a\nh:1:e:u:b")

    assert find_password({"user": "u"}, "h", 1) == "a"
    monkeypatch.setenv("PGDATABASE", "e")
    assert find_password({"user": "u"}, "h", 1) == "b"


def test_the_password_file_of_the_address_wins(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As with psql, `passfile` comes before PGPASSFILE."""
    monkeypatch.setenv("PGPASSFILE", str(file))
    (mine := tmp_path / "mine").touch(mode=0o600)
    mine.write_text("*:*:*:*:mine")

    assert find_password(PARTS | {"passfile": str(mine)}, "h", 5432) == "mine"


def test_other_files_are_found_beside_a_folder_that_cannot_be_read(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """~/.postgresql of another user hides the files for TLS alone."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    file.write_text("*:*:*:*:secret")
    file.with_name(".pg_service.conf").write_text("[s]\nhost=h")
    file.with_name(".postgresql").symlink_to("x" * 300)  # the system refuses it, also to root

    translate_tls({})

    assert os.environ["HOME"] == os.devnull
    assert find_password(PARTS, "h", 5432) == "secret"
    assert add_service({"service": "s"}) == {"host": "h"}
    os.environ |= {"HOME": str(file.parent), "PGPASSFILE": "/mine"}
    translate_tls({})
    assert os.environ["PGPASSFILE"] == "/mine"


@pytest.mark.usefixtures("file")
def test_a_home_without_an_authority_stays(tmp_path: Path) -> None:
    """The certificate of the client in ~/.postgresql counts without root.crt."""
    translate_tls({})

    assert os.environ["HOME"] == str(tmp_path)


@pytest.mark.parametrize(("mode", "stays"), [("verify-ca", True), ("require", False)])
def test_an_authority_is_needed_to_verify(
    mode: str, *, stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PGSSLMODE counts like sslmode: without the file that PGSSLROOTCERT names, none connects."""
    monkeypatch.setenv("PGSSLMODE", mode)
    monkeypatch.setenv("PGSSLROOTCERT", "/nowhere")

    translate_tls({})

    assert ("PGSSLROOTCERT" in os.environ) is stays


@pytest.mark.parametrize("name", ["sslrootcert", "sslcrl", "sslcert", "sslkey"])
@pytest.mark.parametrize("error", [FileNotFoundError(), PermissionError()])
def test_the_file_for_tls_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: OSError, name: str
) -> None:
    """The address, the environment or HOME has it; one that can be read is not to blame."""
    (folder := tmp_path / ".postgresql").mkdir()
    (folder / "root.crt").touch()
    (folder / "postgresql.key").symlink_to("x" * 300)  # the system refuses it, also to root
    monkeypatch.setenv("HOME", str(tmp_path))

    assert unreadable_file(error, {"sslrootcert": "/"}) == str(folder / "postgresql.key")
    assert unreadable_file(error, {name: "/nowhere"}) == "/nowhere"
    monkeypatch.setenv(f"PG{name.upper()}", "/nowhere")
    assert unreadable_file(error, {}) == "/nowhere"
    assert unreadable_file(ConnectionResetError(), {}) is None
    monkeypatch.setattr(os, "access", lambda _, mode: mode == os.F_OK)  # as another user
    assert unreadable_file(error, {name: "/"}) == "/"
