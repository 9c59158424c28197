"""Settings: every error at once, no secret in any message."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from groundwork.core import setting_kinds
from groundwork.core.config import DEVELOPMENT_SECRET, Settings, settings_or_exit
from tests.databases import groundwork

URL = "postgresql://groundwork:s3cret@db:5432/groundwork"


HINTS = get_type_hints(Settings, {"kinds": setting_kinds}, include_extras=True)
KINDS = {name: get_args(hint) for name, hint in HINTS.items()}
# The least and the greatest value of each setting that is a number, as the message has them.
BOUNDS = [
    (name.upper(), *map(kind, re.findall(r"[\d.]+", expected)), 1 if kind is int else 0.0005)
    for name, (kind, _, expected) in KINDS.items()
    if kind in {int, float}
]

type Errors = Callable[[], dict[str, str]]


@pytest.fixture
def errors(capfd: pytest.CaptureFixture[str]) -> Errors:
    """Return a function that loads the settings, and returns what is said to be wrong with them."""

    def errors() -> dict[str, str]:
        with pytest.raises(SystemExit, match="2"):
            settings_or_exit()
        lines = capfd.readouterr().err.removeprefix("groundwork: ").splitlines()
        assert len(lines) == 1 or lines.pop(0) == "invalid settings:"
        pairs = [line.strip().partition(": ") for line in lines]
        return {name: text for name, _, text in pairs}

    return errors


def test_defaults_need_an_address_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With DATABASE_URL set, everything else has a default."""
    monkeypatch.setenv("DATABASE_URL", URL)

    assert settings_or_exit() == Settings(database_url=URL)


def test_values_are_read_and_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of value arrives as its field's type."""
    monkeypatch.setenv("DATABASE_URL", URL)
    monkeypatch.setenv("PORT", "9000")
    monkeypatch.setenv("DEBUG", "true")
    monkeypatch.setenv("READINESS_TTL", "0.5")
    monkeypatch.setenv("CORS_ALLOW_ORIGINS", "https://a.example, https://b.example")
    monkeypatch.setenv("OPS_TOKEN", "")
    monkeypatch.setenv("LOG_LEVEL", "debug")

    settings = settings_or_exit()

    assert (settings.port, settings.debug, settings.readiness_ttl) == (9000, True, 0.5)
    assert settings.log_level == "debug"
    assert settings.cors_allow_origins == ("https://a.example", "https://b.example")
    assert settings.ops_token == ""


def test_a_missing_address_is_named(errors: Errors) -> None:
    """Without DATABASE_URL the error names it and shows what it looks like."""
    assert errors() == {
        "DATABASE_URL": "Environment variable not set. "
        "Expected: postgresql://user:password@host:5432/database."
    }


def test_the_message_has_a_line_for_each(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One error stands by itself; several stand under a heading, in the order of their names."""
    monkeypatch.setenv("PORT", "0")
    with pytest.raises(SystemExit, match="2"):
        settings_or_exit()

    heading, first, second = capfd.readouterr().err.splitlines()
    assert heading == "groundwork: invalid settings:"
    assert first.startswith("  DATABASE_URL: ")
    assert second.startswith("  PORT: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("APP_NAME", ""),
        ("ENVIRONMENT", "prod"),
        ("DEBUG", "release"),
        ("HOST", ""),
        ("HOST", "http://localhost"),
        ("HOST", "a b"),
        ("HOST", "http://[::1]"),
        ("HOST", "h\u00f6st"),
        ("APP_NAME", "x" * 201),
        ("SECRET_KEY", ""),
        ("OPS_TOKEN", "two words"),
        ("OPS_TOKEN", "\u00fcml\u00e4ut"),
        ("CORS_ALLOW_ORIGINS", "https://a.example/"),
        ("CORS_ALLOW_ORIGINS", "https://a.example/path"),
        ("CORS_ALLOW_ORIGINS", "https://A.example"),
        ("CORS_ALLOW_ORIGINS", "https://a.example:443"),
        ("CORS_ALLOW_ORIGINS", "http://a.example:80,https://b.example"),
        ("CORS_ALLOW_ORIGINS", "a.example"),
        ("CORS_ALLOW_ORIGINS", "https://a.example https://b.example"),
        ("CORS_ALLOW_ORIGINS", "https://user:s3cret@a.example"),
        ("SHUTDOWN_DRAIN_SECONDS", "1e300"),
        ("DB_POOL_MAX_SIZE", "9" * 5000),
        ("CORS_ALLOW_ORIGINS", "https://a.example:"),
        ("CORS_ALLOW_ORIGINS", "https://a.example:08443"),
        ("CORS_ALLOW_ORIGINS", "https://::1"),
        ("PORT", "abc"),
        ("DATABASE_URL", "mysql://a:s3cret@b/c"),
        ("DATABASE_URL", "postgresql://a:s3cret@b:port/c"),
        ("DATABASE_URL", "postgresql://b:port/c"),
        ("DATABASE_URL", "postgresql://a:s3cret@[::1/c"),
        ("DATABASE_URL", ""),
        ("DB_COMMAND_TIMEOUT", "nan"),
        ("LOG_LEVEL", "loud"),
        ("LOG_JSON", "maybe"),
        ("KEEP_ALIVE_SECONDS", "1.5"),
        ("SHUTDOWN_GRACE_SECONDS", "soon"),
    ],
)
def test_a_bad_value_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, errors: Errors
) -> None:
    """A bad value is named with what is expected instead, and is not repeated."""
    monkeypatch.setenv("DATABASE_URL", URL)
    monkeypatch.setenv(name, value)

    found = errors()

    assert list(found) == [name]
    assert "Expected: " in found[name]
    assert "s3cret" not in found[name]


@pytest.mark.parametrize(("name", "least", "greatest", "step"), BOUNDS)
def test_the_bounds_are_as_the_message_has_them(
    monkeypatch: pytest.MonkeyPatch, name: str, least: float, greatest: float, step: float
) -> None:
    """A number may be the least and the greatest that the message names, and none beyond them."""
    monkeypatch.setenv("DATABASE_URL", URL)
    for valid in (least, greatest):
        monkeypatch.setenv(name, str(valid))
        assert getattr(settings_or_exit(), name.lower()) == valid

    for invalid in (least - step, greatest + step):
        monkeypatch.setenv(name, str(invalid))
        with pytest.raises(SystemExit, match="2"):
            settings_or_exit()


@pytest.mark.parametrize(
    "url",
    [
        "postgres://db/groundwork",
        "postgresql://h1:5432,h2:5433/db?target_session_attrs=read-write",
        "postgresql://u:p@[::1]:5432/db",
        "postgresql://postgres@/postgres?host=/run/postgresql",
        "postgresql://db/groundwork?application_name=a://b",
    ],
)
def test_addresses_as_psql_takes_them(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Several hosts, IPv6 and sockets are addresses too."""
    monkeypatch.setenv("DATABASE_URL", url)

    assert settings_or_exit().database_url == url


def test_a_driver_in_the_address_gets_the_cure(
    monkeypatch: pytest.MonkeyPatch, errors: Errors
) -> None:
    """A +driver suffix is refused, and the message says to remove it."""
    monkeypatch.setenv("DATABASE_URL", URL.replace("://", "+asyncpg://"))

    assert "Remove '+asyncpg'" in errors()["DATABASE_URL"]


@pytest.mark.parametrize("environment", ["staging", "production"])
@pytest.mark.parametrize("secret", [None, "short", DEVELOPMENT_SECRET])
def test_a_secret_of_its_own_outside_development(
    monkeypatch: pytest.MonkeyPatch, environment: str, secret: str | None, errors: Errors
) -> None:
    """Staging and production want a SECRET_KEY that is long and not the example."""
    monkeypatch.setenv("DATABASE_URL", URL)
    monkeypatch.setenv("ENVIRONMENT", environment)
    if secret:
        monkeypatch.setenv("SECRET_KEY", secret)

    found = errors()
    reason = f"Missing, too short or the example, with ENVIRONMENT={environment}."
    expected = "32 or more random characters: openssl rand -hex 32"
    assert found == {"SECRET_KEY": f"{reason} Expected: {expected}."}


def test_no_debug_in_production(monkeypatch: pytest.MonkeyPatch, errors: Errors) -> None:
    """DEBUG shows tracebacks, so production refuses it."""
    monkeypatch.setenv("DATABASE_URL", URL)
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("SECRET_KEY", "x" * 32)
    monkeypatch.setenv("DEBUG", "true")

    found = errors()
    assert found == {"DEBUG": "Must be false with ENVIRONMENT=production."}


def test_values_come_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """NAME_FILE names a file that holds the value, as container secrets do."""
    secret = tmp_path / "database-url"
    secret.write_text(f"{URL}\n")
    monkeypatch.setenv("DATABASE_URL_FILE", str(secret))

    assert settings_or_exit().database_url == URL


def test_an_unreadable_file_is_named(monkeypatch: pytest.MonkeyPatch, errors: Errors) -> None:
    """A NAME_FILE that does not exist is one more error in the list."""
    monkeypatch.setenv("DATABASE_URL_FILE", "/nowhere")
    monkeypatch.setenv("PORT", "abc")

    monkeypatch.setenv("ENVIRONMENT_FILE", "/nowhere")

    found = errors()
    assert set(found) == {"DATABASE_URL", "ENVIRONMENT", "PORT"}
    assert found["DATABASE_URL"].startswith("DATABASE_URL_FILE: The file cannot be read")


def test_a_wrong_path_is_not_a_weak_secret(monkeypatch: pytest.MonkeyPatch, errors: Errors) -> None:
    """In production, a SECRET_KEY_FILE that does not exist is reported as that alone."""
    monkeypatch.setenv("DATABASE_URL", URL)
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("SECRET_KEY_FILE", "/nowhere")

    assert errors() == {
        "SECRET_KEY": "SECRET_KEY_FILE: The file cannot be read: No such file or directory."
    }


def test_an_unreadable_dotenv_is_reported(errors: Errors) -> None:
    """A `.env` that cannot be read is an error beside those of the settings."""
    Path(".env").write_bytes(b"\xff")

    assert errors()[".env"] == "The file cannot be read: not UTF-8."


@pytest.mark.parametrize(
    ("value", "origins"),
    [
        ("", ()),
        ("*", ("*",)),
        (
            "https://a.example, http://localhost:3000,app://x",
            ("https://a.example", "http://localhost:3000", "app://x"),
        ),
        ("http://[::1]:8080,", ("http://[::1]:8080",)),
        ("https://a.example:8443", ("https://a.example:8443",)),
        ("http://my_app:3000", ("http://my_app:3000",)),
    ],
)
def test_origins_are_a_list(
    monkeypatch: pytest.MonkeyPatch, value: str, origins: tuple[str, ...]
) -> None:
    """CORS_ALLOW_ORIGINS holds origins as browsers send them, separated by commas."""
    monkeypatch.setenv("DATABASE_URL", URL)
    monkeypatch.setenv("CORS_ALLOW_ORIGINS", value)

    assert settings_or_exit().cors_allow_origins == origins


@pytest.mark.parametrize("host", ["::", "::1", "fe80::1%eth0", "0.0.0.0", "my-host.example"])  # noqa: S104
def test_hosts_are_addresses_or_names(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """HOST is an IPv4 or IPv6 address or a name."""
    monkeypatch.setenv("DATABASE_URL", URL)
    monkeypatch.setenv("HOST", host)

    assert settings_or_exit().host == host


def test_dotenv_in_development_alone(monkeypatch: pytest.MonkeyPatch, errors: Errors) -> None:
    """.env is read in development, where unknown names in it are ignored."""
    Path(".env").write_text(f"DATABASE_URL={URL}\nPORT=9001\nPOSTGRES_PASSWORD=y\n")
    monkeypatch.setenv("PORT", "9002")

    assert settings_or_exit() == Settings(database_url=URL, port=9002)

    monkeypatch.setenv("ENVIRONMENT", "production")
    assert "DATABASE_URL" in errors()


def test_dotenv_is_this_folders(monkeypatch: pytest.MonkeyPatch, errors: Errors) -> None:
    """A .env further up belongs to another."""
    Path(".env").write_text(f"DATABASE_URL={URL}\n")
    Path("inner").mkdir()
    monkeypatch.chdir("inner")

    assert list(errors()) == ["DATABASE_URL"]


def test_repr_hides_secrets() -> None:
    """Settings may end up in a traceback; their secrets may not."""
    shown = repr(Settings(database_url=URL, secret_key="hush-hush", ops_token="mum"))

    assert not {word for word in ("s3cret", "hush-hush", "mum") if word in shown}
    assert "host='127.0.0.1'" in shown


def test_commands_list_every_error_and_exit_with_2() -> None:
    """The command's message names all that is wrong, without a traceback or a secret."""
    done = groundwork(
        "serve",
        PORT="abc",
        LOG_LEVEL="loud",
        DB_POOL_MAX_SIZE="0",
        SECRET_KEY="x",
        ENVIRONMENT="production",
        DATABASE_URL="mysql://a:s3cret@b/c",
    )

    named = ("PORT", "LOG_LEVEL", "DB_POOL_MAX_SIZE", "SECRET_KEY", "ENVIRONMENT", "DATABASE_URL")
    assert done.returncode == 2
    assert [name for name in named if name not in done.stderr] == []
    assert "s3cret" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
