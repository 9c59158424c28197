"""Settings: read once from the environment, every error told at once."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from environs import EnvValidationError, FileAwareEnv, ValidationError
from environs import validate as check

DEVELOPMENT_SECRET = "development-only-secret-replace-me"  # noqa: S105 - refused elsewhere
SECRET_LENGTH = 32
ENVIRONMENTS = ("development", "staging", "production")
_POSITIVE = check.Range(min=0, min_inclusive=False)
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class SettingsError(Exception):
    """The environment holds no valid settings; `errors` maps each bad variable to its fault."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        lines = [f"{name}: {fault}" for name, fault in sorted(self.errors.items())]
        super().__init__("\n  ".join(lines if len(lines) == 1 else ["bad settings:", *lines]))


def _postgres_url(value: str) -> None:
    """Refuse what psql would not take, with the cure."""
    name, plus, driver = value.partition("://")[0].partition("+")
    try:
        hosts = urlsplit(value).netloc.rpartition("@")[2].split(",")
    except ValueError:  # its text may hold the password
        hosts = ["?:?"]
    ports = [host.rpartition("]")[2].partition(":")[2] for host in hosts]
    if name not in {"postgresql", "postgres"}:
        fault = "Not a PostgreSQL address."
    elif plus:
        fault = f"Remove '+{driver}': one address serves asyncpg, yoyo and psql."
    elif not all(port.isdecimal() for port in ports if port):
        fault = "A host or port in it can't be read."
    else:
        return
    raise ValidationError(fault)


def _setting(
    default: Any = MISSING, *rules: Callable[[Any], Any], expect: str, secret: bool = False
) -> Any:
    return field(default=default, repr=not secret, metadata={"rules": rules, "expect": expect})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One field for each environment variable, named alike; times are seconds."""

    app_name: str = _setting("Groundwork", check.Length(min=1), expect="a name")
    environment: str = _setting(
        "development", check.OneOf(ENVIRONMENTS), expect=", ".join(ENVIRONMENTS)
    )
    debug: bool = _setting(default=False, expect="true or false")
    host: str = _setting("127.0.0.1", check.Length(min=1), expect="an address to listen on")
    port: int = _setting(8000, check.Range(1, 65535), expect="1 to 65535")
    database_url: str = _setting(
        MISSING, _postgres_url, expect="postgresql://user:password@host:5432/database", secret=True
    )
    db_pool_max_size: int = _setting(15, check.Range(1), expect="1 or more")
    db_pool_timeout: float = _setting(5.0, _POSITIVE, expect="seconds, more than 0")
    db_connect_timeout: float = _setting(5.0, _POSITIVE, expect="seconds, more than 0")
    db_command_timeout: float = _setting(30.0, _POSITIVE, expect="seconds, more than 0")
    slow_query_seconds: float = _setting(1.0, check.Range(0), expect="seconds, 0 or more")
    db_statement_cache_size: int = _setting(100, check.Range(0), expect="0 or more")
    secret_key: str = _setting(
        DEVELOPMENT_SECRET,
        expect="32 or more random characters, as python -c 'import secrets; "
        "print(secrets.token_urlsafe(32))' prints them",
        secret=True,
    )
    access_token_expire_minutes: int = _setting(30, check.Range(1), expect="minutes, 1 or more")
    ops_token: str | None = _setting(None, expect="a token", secret=True)
    cors_allow_origins: tuple[str, ...] = _setting((), expect="origins, comma-separated")
    log_level: str = _setting(
        "INFO",
        check.OneOf((*LOG_LEVELS, *map(str.lower, LOG_LEVELS)), error="Not a log level."),
        expect=", ".join(LOG_LEVELS),
    )
    log_json: bool = _setting(default=True, expect="true or false")
    keep_alive_seconds: int = _setting(75, check.Range(1), expect="seconds, 1 or more")
    readiness_timeout: float = _setting(
        0.8, check.Range(0, 1, min_inclusive=False, max_inclusive=False), expect="between 0 and 1"
    )
    readiness_ttl: float = _setting(1.0, check.Range(0), expect="seconds, 0 or more")
    shutdown_drain_seconds: float = _setting(5.0, check.Range(0), expect="seconds, 0 or more")
    shutdown_grace_seconds: float = _setting(10.0, check.Range(0), expect="seconds, 0 or more")


def load_settings() -> Settings:
    """Read the settings from the environment, and in development from `.env` as well.

    Raises:
        SettingsError: naming every variable that is missing or wrong, and no value.
    """
    env = FileAwareEnv(eager=False, strip_whitespace=True)
    if os.environ.get("ENVIRONMENT", "development") == "development":
        env.read_env(Path(".env"), recurse=False)
    values, errors = {}, {}
    for item in fields(Settings):
        try:
            values[item.name] = _read(env, item.name.upper(), item.default, item.metadata["rules"])
        except ValueError as error:  # NAME_FILE names no readable file
            errors[item.name.upper()] = str(error)
    try:
        env.seal()
    except EnvValidationError as error:
        faults = cast("Mapping[str, list[str]]", error.error_messages)
        errors |= {name: " ".join(faults[name]) for name in faults}
    errors |= _contradictions(values)
    if not errors:
        return Settings(**values)
    expected = {item.name.upper(): item.metadata["expect"] for item in fields(Settings)}
    raise SettingsError({name: f"{errors[name]} Expected: {expected[name]}." for name in errors})


def settings_or_exit() -> Settings:
    """Like load_settings, for commands: the message goes to stderr, the exit code is 2."""
    try:
        return load_settings()
    except SettingsError as error:
        sys.stderr.write(f"groundwork: {error}\n")
        sys.exit(2)


def _read(env: FileAwareEnv, name: str, default: Any, rules: tuple[Any, ...]) -> Any:
    readers = {bool: env.bool, int: env.int, float: env.float, tuple: env.list}
    reader: Any = readers.get(type(default), env.str)
    value = reader(name, ... if default is MISSING else default, validate=rules)
    if isinstance(default, tuple):
        return tuple(part.strip() for part in value or ())
    return value or None if default is None else value


def _contradictions(values: Mapping[str, Any]) -> dict[str, str]:
    environment = values.get("environment")
    errors = {}
    if environment == "production" and values.get("debug"):
        errors["DEBUG"] = f"Not with ENVIRONMENT={environment}."
    secret = values.get("secret_key", "")
    weak = secret == DEVELOPMENT_SECRET or len(secret) < SECRET_LENGTH
    if environment in {"staging", "production"} and weak:
        errors["SECRET_KEY"] = f"Missing, too short or the example, with ENVIRONMENT={environment}."
    return errors
