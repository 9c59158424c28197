"""DATABASE_URL, a URL or a keyword string: read by libpq's own parser for both drivers."""

import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from urllib.parse import urlencode

from groundwork.core.libpq_files import add_service, translate_tls, trusts_system

_ENCODE = "Percent-encode special characters in user and password: %40 for @, %2F for /, %25 for %."
_INTEGER = re.compile(r"connect_timeout|keepalives\w*|tcp_user_timeout")
# What asyncpg reads as libpq does. It knows no others; DB_CONNECT_TIMEOUT replaces connect_timeout.
_ASYNCPG = re.compile(
    "user|password|passfile|dbname|service|krbsrvname|ssl_m(in|ax)_protocol_version"
    "|ssl(mode|negotiation|cert|key|password|rootcert|crl)|target_session_attrs"
)


class DatabaseURLError(ValueError):
    """libpq does not take the address; the text names the parameter and shows no value."""


# Of the last address: its parts, and those with its service, as libpq has read and checked them.
answers: dict[str, tuple[dict[str, str], dict[str, str]]] = {}


@dataclass(frozen=True, slots=True, repr=False)
class DatabaseURL:
    """One address in the parts that asyncpg takes. Its repr() shows no value."""

    dsn: str
    # Host name, IP address or socket folder; port; the address to use in place of a look-up.
    hosts: tuple[tuple[str | None, int | None, str | None], ...]
    server_settings: dict[str, str]
    uses_system_certificates: bool
    parts: Mapping[str, str]  # those that asyncpg takes


def parse_database_url(url: str) -> DatabaseURL:
    """Return the parts of an address that psql takes.

    Raises:
        DatabaseURLError: psql would not take it, or a driver does not support it.
    """
    own, checked = answers.get(url) or (_parse(url), None)
    parts = add_service(own)
    if not (parts.get("user") or parts.get("service")):
        parts = parts | {"user": _user()}
    if parts != checked:
        _check(parts)
    answers.clear()
    answers[url] = own, parts
    asyncpg = {name: parts[name] for name in parts if _ASYNCPG.fullmatch(name) and parts[name]}
    translate_tls(asyncpg)
    certificates = trusts_system(asyncpg)
    settings = {"application_name": parts.get("fallback_application_name") or "groundwork"}
    for name, variable in (("application_name", "PGAPPNAME"), ("options", "PGOPTIONS")):
        if value := parts.get(name) or os.environ.get(variable):
            settings[name] = value
    dsn = f"postgresql://?{urlencode(asyncpg)}"
    return DatabaseURL(dsn, _hosts(parts), settings, certificates, asyncpg)


def _parse(url: str) -> dict[str, str]:
    import psycopg2

    if not url.strip():
        raise DatabaseURLError("Missing.")  # noqa: EM101 - one word
    if driver := re.match(r"postgres(?:ql)?(\+\w+)://", url):
        message = f"Remove '{driver[1]}': one address serves asyncpg, yoyo and psql."
        raise DatabaseURLError(message)
    try:
        parts: dict[str, str] = psycopg2.extensions.parse_dsn(url)
    except (psycopg2.Error, UnicodeError) as error:
        named = re.search(r'(?:parameter|option):? "([A-Za-z_]{1,40})"$', str(error))
        if named and not re.search(rf"\?.*@|password\s*=.*{named[1]}", url):  # a piece of one
            verb = "requires %3D for = in" if "extra" in str(error) else "does not know"
            message = f"libpq {verb} the parameter {named[1]!r}."
        elif re.match(r"postgres(ql)?://", url):
            message = f"libpq cannot read it. {_ENCODE}"
        else:
            message = "Not a PostgreSQL address."
        raise DatabaseURLError(message) from None
    if "@" in parts.get("host", "") or re.match(r"postgres(ql)?://[^/?]*/[^?]*@", url):
        raise DatabaseURLError(_ENCODE)
    return parts


def _user() -> str:
    """Return the user that libpq takes where the address has none; asyncpg goes by LOGNAME."""
    try:
        return os.environ.get("PGUSER") or pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        message = "It has no user name, and neither has the user that runs this process."
        raise DatabaseURLError(message) from None


def _check(parts: dict[str, str]) -> None:
    """Let libpq check every value, as it does before it tries to reach a host that is nowhere."""
    for name, value in parts.items():
        if _INTEGER.fullmatch(name) and not re.fullmatch(r"-?\d{1,9}", value.strip()):
            raise _invalid(name)
        if name == "replication" or (name, value) == ("gssencmode", "require"):
            message = f"Groundwork does not support this value of the parameter {name!r}."
            raise DatabaseURLError(message)
    hosts, addresses = (_given(parts, name) for name in ("host", "hostaddr"))
    is_name = re.search(r"(^|,)[^:,]*[a-zA-Z][^:,]*(,|$)", addresses)
    if is_name or (hosts and addresses and hosts.count(",") != addresses.count(",")):
        raise _invalid("hostaddr")  # noqa: EM101 - no message
    import psycopg2

    nowhere = ",".join(["/dev/null/nowhere"] * ((hosts or addresses).count(",") + 1))
    try:
        psycopg2.connect(**{**parts, "host": nowhere, "hostaddr": ""})
    except psycopg2.Error as error:
        text = re.sub(r"(?m)^(connection to server|\t).*\n?", "", str(error))  # one for each host
    if text:
        for word in re.findall(r"\w+", text):
            if word in parts:
                raise _invalid(word)
            if (variable := f"PG{word.replace('_', '').upper()}") in os.environ:
                raise _invalid(variable)
        raise DatabaseURLError("libpq does not take its parameters.")  # noqa: EM101, TRY003 - short


def _invalid(name: str) -> DatabaseURLError:
    hint = f" {_ENCODE}" if name == "port" else ""
    return DatabaseURLError(f"libpq does not take the value of the parameter {name!r}.{hint}")


def _given(parts: Mapping[str, str], name: str) -> str:
    return parts.get(name) or os.environ.get(f"PG{name.upper()}", "")


def _hosts(parts: dict[str, str]) -> tuple[tuple[str | None, int | None, str | None], ...]:
    """Return every host with its port; None where the driver's default or a service says it."""
    names, addresses, ports = (
        _given(parts, name).split(",") for name in ("host", "hostaddr", "port")
    )
    if names == addresses == [""]:
        return ((None, int(ports[0]) if ports[0] else None, None),)
    if len(ports) == 1:
        ports *= max(len(names), len(addresses))
    return tuple(
        (name or address or "localhost", int(port or 5432), address or None)
        for name, address, port in zip_longest(names, addresses, ports)
    )
