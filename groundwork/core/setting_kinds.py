"""Each kind of setting: its type, the rule that it has to pass, what the message says is expected.

config.py imports it only to read the settings: environs would stay in memory.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, override

from environs import Env, ValidationError
from environs import validate as check

from groundwork.core.database_url import DatabaseURLError, parse_database_url
from groundwork.core.environment import ENVIRONMENTS


def _is_address(value: str) -> None:
    try:
        parse_database_url(value)
    except DatabaseURLError as error:
        raise ValidationError(str(error)) from None


Text = Annotated[str, check.Length(1, 200), "1 to 200 characters"]
Environment = Annotated[str, check.OneOf(ENVIRONMENTS), ", ".join(ENVIRONMENTS)]
Flag = Annotated[bool, None, "true or false"]
Host = Annotated[str, check.Regexp(r"[\w.:%[\]-]{1,255}\Z", re.ASCII), "an address or host name"]
Port = Annotated[int, check.Range(1, 65_535), "1 to 65535"]
Url = Annotated[str, _is_address, "postgresql://user:password@host:5432/database"]
Whole = Annotated[int, check.Range(1, 525_600), "1 to 525600"]
CacheSize = Annotated[int, check.Range(0, 10_000), "0 to 10000"]
Timeout = Annotated[float, check.Range(0.001, 86_400), "seconds, 0.001 to 86400"]
Seconds = Annotated[float, check.Range(0, 86_400), "seconds, 0 to 86400"]
ProbeTimeout = Annotated[float, check.Range(0.001, 0.999), "seconds, 0.001 to 0.999"]
Secret = Annotated[str, check.Length(1), "32 or more random characters: openssl rand -hex 32"]
Token = Annotated[str, check.Regexp(r"[!-~]*\Z"), "printable ASCII without spaces"]
_LEVELS = "DEBUG|INFO|WARNING|ERROR|CRITICAL"
LogLevel = Annotated[str, check.Regexp(rf"({_LEVELS})\Z", re.IGNORECASE), _LEVELS]
# Origins are compared with what browsers send: no path, no default port.
_HOST = r"([a-z0-9._-]+|\[[0-9a-f:.]+])(:[1-9][0-9]{0,4})?"
_ORIGIN = rf"(?!http://[^,]*:80\b|https://[^,]*:443\b)[a-z][a-z0-9+.-]*://{_HOST}|\*"
Origins = Annotated[
    tuple[str, ...],
    check.Regexp(rf"(({_ORIGIN})\s*(,\s*|\Z))*\Z", error="Not a list of origins."),
    "comma-separated, in lower case, without path, slash at the end, port 80 or 443",
]


class RawEnv(Env):
    """The parsers of environs, for values that have been read already."""

    raw: Mapping[str, str]

    @override
    def _get_value(self, env_key: str, default: Any) -> Any:
        return self.raw.get(env_key, default)
