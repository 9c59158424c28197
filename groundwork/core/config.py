"""Settings: read once from the environment, with every error reported at once."""

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Any, cast, get_args, get_type_hints, override

from environs import Env, EnvValidationError
from environs import validate as check

from groundwork.core.database_url import parse_database_url
from groundwork.core.environment import exit_with, read_environment

DEVELOPMENT_SECRET = "development-only-secret-replace-me"  # noqa: S105 - refused elsewhere
ENVIRONMENTS = ("development", "staging", "production")
_SECRET_LENGTH = 32

# Each kind of value: its type, the rule that it has to pass, and what the message says is expected.
_Text = Annotated[str, check.Length(1, 200), "1 to 200 characters"]
_Environment = Annotated[str, check.OneOf(ENVIRONMENTS), ", ".join(ENVIRONMENTS)]
_Flag = Annotated[bool, None, "true or false"]
_Host = Annotated[str, check.Regexp(r"[\w.:%[\]-]{1,255}\Z", re.ASCII), "an address or host name"]
_Port = Annotated[int, check.Range(1, 65_535), "1 to 65535"]
_Url = Annotated[str, parse_database_url, "postgresql://user:password@host:5432/database"]
_Whole = Annotated[int, check.Range(1, 525_600), "1 to 525600"]
_CacheSize = Annotated[int, check.Range(0, 10_000), "0 to 10000"]
_Timeout = Annotated[float, check.Range(0.001, 86_400), "seconds, 0.001 to 86400"]
_Seconds = Annotated[float, check.Range(0, 86_400), "seconds, 0 to 86400"]
_ProbeTimeout = Annotated[float, check.Range(0.001, 0.999), "seconds, 0.001 to 0.999"]
_Secret = Annotated[str, check.Length(1), "32 or more random characters: openssl rand -hex 32"]
_Token = Annotated[str, check.Regexp(r"[!-~]*\Z"), "printable ASCII without spaces"]
_LEVELS = "DEBUG|INFO|WARNING|ERROR|CRITICAL"
_LogLevel = Annotated[str, check.Regexp(rf"({_LEVELS})\Z", re.IGNORECASE), _LEVELS]
# Origins are compared with what browsers send: no path, no default port.
_HOST = r"([a-z0-9._-]+|\[[0-9a-f:.]+])(:[1-9][0-9]{0,4})?"
_ORIGIN = rf"(?!http://[^,]*:80\b|https://[^,]*:443\b)[a-z][a-z0-9+.-]*://{_HOST}|\*"
_Origins = Annotated[
    tuple[str, ...],
    check.Regexp(rf"(({_ORIGIN})\s*(,\s*|\Z))*\Z", error="Not a list of origins."),
    "comma-separated, in lower case, without path, slash at the end, port 80 or 443",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One field for each environment variable, with the same name; times are seconds."""

    app_name: _Text = "Groundwork"
    environment: _Environment = "development"
    debug: _Flag = False
    host: _Host = "127.0.0.1"
    port: _Port = 8000
    database_url: _Url = field(repr=False)
    db_pool_max_size: _Whole = 15
    db_pool_timeout: _Timeout = 5.0
    db_connect_timeout: _Timeout = 5.0
    db_command_timeout: _Timeout = 30.0
    slow_query_seconds: _Seconds = 1.0
    db_statement_cache_size: _CacheSize = 100
    migration_lock_timeout: _Timeout = 300.0
    secret_key: _Secret = field(default=DEVELOPMENT_SECRET, repr=False)
    access_token_expire_minutes: _Whole = 30
    ops_token: _Token = field(default="", repr=False)
    cors_allow_origins: _Origins = ()
    log_level: _LogLevel = "INFO"
    log_json: _Flag = True
    keep_alive_seconds: _Whole = 75
    readiness_timeout: _ProbeTimeout = 0.8
    readiness_ttl: _Seconds = 1.0
    shutdown_drain_seconds: _Seconds = 5.0
    shutdown_grace_seconds: _Seconds = 10.0


class _RawEnv(Env):
    """The parsers of environs, for values that have been read already."""

    raw: Mapping[str, str]

    @override
    def _get_value(self, env_key: str, default: Any) -> Any:
        return self.raw.get(env_key, default)


def settings_or_exit() -> Settings:
    """Read the settings, `.env` too in development; or print every error and exit with 2."""
    kinds = get_type_hints(Settings, include_extras=True)
    env, values = _RawEnv(eager=False), dict[str, Any]()
    env.raw, errors = read_environment([name.upper() for name in kinds])
    for item in fields(Settings):
        kind, rule, _ = get_args(kinds[item.name])
        reader: Any = {bool: env.bool, int: env.int, float: env.float}.get(kind, env.str)
        default = ... if item.default is MISSING else item.default
        values[item.name] = reader(item.name.upper(), default, validate=rule)
    values["cors_allow_origins"] = tuple(re.findall(r"[^\s,]+", values["cors_allow_origins"] or ""))
    try:
        env.seal()
    except EnvValidationError as error:
        found = cast("Mapping[str, list[str]]", error.error_messages)
        for name, messages in found.items():
            expected = get_args(kinds[name.lower()])[2]
            errors.setdefault(name, f"{messages[0]} Expected: {expected}.")
    if errors := _contradictions(values) | errors:
        lines = [f"{name}: {text}" for name, text in sorted(errors.items())]
        exit_with("\n  ".join(lines if len(lines) == 1 else ["invalid settings:", *lines]))
    return Settings(**values)


def _contradictions(values: Mapping[str, Any]) -> dict[str, str]:
    environment, secret, errors = values["environment"], values["secret_key"] or "", {}
    if environment == "production" and values["debug"]:
        errors["DEBUG"] = "Must be false with ENVIRONMENT=production."
    weak = secret == DEVELOPMENT_SECRET or len(secret) < _SECRET_LENGTH
    if environment in {"staging", "production"} and weak:
        reason = f"Missing, too short or the example, with ENVIRONMENT={environment}."
        errors["SECRET_KEY"] = f"{reason} Expected: {get_args(_Secret)[2]}."
    return errors
