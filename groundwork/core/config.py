"""Settings: read once from the environment, with every error reported at once."""

from __future__ import annotations  # the kinds of settings are imported when these are read

import re
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, cast, get_args, get_type_hints

from groundwork.core.environment import exit_with, read_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from groundwork.core import setting_kinds as kinds

DEVELOPMENT_SECRET = "development-only-secret-replace-me"  # noqa: S105 - refused elsewhere
_SECRET_LENGTH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One field for each environment variable, with the same name; times are seconds."""

    app_name: kinds.Text = "Groundwork"
    environment: kinds.Environment = "development"
    debug: kinds.Flag = False
    host: kinds.Host = "127.0.0.1"
    port: kinds.Port = 8000
    database_url: kinds.Url = field(repr=False)
    db_pool_max_size: kinds.Whole = 15
    db_pool_timeout: kinds.Timeout = 5.0
    db_connect_timeout: kinds.Timeout = 5.0
    db_command_timeout: kinds.Timeout = 30.0
    slow_query_seconds: kinds.Seconds = 1.0
    db_statement_cache_size: kinds.CacheSize = 100
    migration_lock_timeout: kinds.Timeout = 300.0
    secret_key: kinds.Secret = field(default=DEVELOPMENT_SECRET, repr=False)
    access_token_expire_minutes: kinds.Whole = 30
    ops_token: kinds.Token = field(default="", repr=False)
    cors_allow_origins: kinds.Origins = ()
    log_level: kinds.LogLevel = "INFO"
    log_json: kinds.Flag = True
    keep_alive_seconds: kinds.Whole = 75
    readiness_timeout: kinds.ProbeTimeout = 0.8
    readiness_ttl: kinds.Seconds = 1.0
    shutdown_drain_seconds: kinds.Seconds = 5.0
    shutdown_grace_seconds: kinds.Seconds = 10.0


def settings_or_exit() -> Settings:
    """Read the settings, `.env` too in development; or print every error and exit with 2."""
    from environs import EnvValidationError

    from groundwork.core import setting_kinds as kinds

    hints = get_type_hints(Settings, {"kinds": kinds}, include_extras=True)
    env, values = kinds.RawEnv(eager=False), dict[str, Any]()
    env.raw, errors = read_environment([name.upper() for name in hints])
    for item in fields(Settings):
        kind, rule, _ = get_args(hints[item.name])
        reader: Any = {bool: env.bool, int: env.int, float: env.float}.get(kind, env.str)
        default = ... if item.default is MISSING else item.default
        values[item.name] = reader(item.name.upper(), default, validate=rule)
    values["cors_allow_origins"] = tuple(re.findall(r"[^\s,]+", values["cors_allow_origins"] or ""))
    try:
        env.seal()
    except EnvValidationError as error:
        found = cast("Mapping[str, list[str]]", error.error_messages)
        for name, messages in found.items():
            expected = get_args(hints[name.lower()])[2]
            errors.setdefault(name, f"{messages[0]} Expected: {expected}.")
    if errors := _contradictions(values, get_args(hints["secret_key"])[2]) | errors:
        lines = [f"{name}: {text}" for name, text in sorted(errors.items())]
        exit_with("\n  ".join(lines if len(lines) == 1 else ["invalid settings:", *lines]))
    return Settings(**values)


def _contradictions(values: Mapping[str, Any], expected: str) -> dict[str, str]:
    environment, secret, errors = values["environment"], values["secret_key"] or "", {}
    if environment == "production" and values["debug"]:
        errors["DEBUG"] = "Must be false with ENVIRONMENT=production."
    weak = secret == DEVELOPMENT_SECRET or len(secret) < _SECRET_LENGTH
    if environment in {"staging", "production"} and weak:
        reason = f"Missing, too short or the example, with ENVIRONMENT={environment}."
        errors["SECRET_KEY"] = f"{reason} Expected: {expected}."
    return errors
