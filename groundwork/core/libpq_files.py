"""libpq's service file and password file, which asyncpg reads in a way of its own.

It takes part of a service, and `%` in it for more than a character; it knows no escapes in a
password, and fails at a line that is none.
"""

import os
import re
import ssl
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

# host:port:database:user:password; a backslash escapes a character.
_PASSWORD = re.compile(":".join([r"((?:\\.|[^:])*+)"] * 5))
_SOCKETS = {"", "/tmp", "/var/run/postgresql"}  # noqa: S108 - in the file these are localhost


def add_service(parts: dict[str, str]) -> dict[str, str]:
    """Return the parts of an address with those of its service, or of PGSERVICE.

    A service that is not found is left to libpq, which knows one more folder or says what is wrong.
    """
    name = parts.get("service") or os.environ.get("PGSERVICE")
    if not name:
        return parts
    paths = [os.environ.get("PGSERVICEFILE") or os.path.expanduser("~/.pg_service.conf")]  # noqa: PTH111 - never raises
    if folder := os.environ.get("PGSYSCONFDIR"):
        paths.append(f"{folder}/pg_service.conf")
    for path in paths:
        if found := _read(path, name):
            return found | {key: value for key, value in parts.items() if key != "service"}
    return {**parts, "service": name}


def _read(path: str, name: str) -> dict[str, str]:
    """Return the lines key=value below [name]; the first of two with the same key counts."""
    found, is_ours = dict[str, str](), False
    with suppress(OSError):
        for line in map(str.strip, Path(path).read_text("utf-8", "replace").splitlines()):
            if line.startswith("["):
                is_ours = not found and line.startswith(f"[{name}]")
            elif is_ours and line and not line.startswith("#"):
                key, separator, value = line.partition("=")
                if not separator or key.rstrip() != key:
                    return {}  # libpq refuses it
                found.setdefault(key, value)
    return found


def find_password(parts: Mapping[str, str], host: str, port: int) -> str | None:
    """Return the password in the first line for a server, of a file private to its owner."""
    name = parts.get("passfile") or os.environ.get("PGPASSFILE") or "~/.pgpass"
    user = parts.get("user", "")
    database = parts.get("dbname") or os.environ.get("PGDATABASE") or user
    wanted = ("localhost" if host in _SOCKETS else host, str(port), database, user)
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - never raises
    with suppress(OSError):
        mode = path.stat().st_mode
        if stat.S_ISREG(mode) and not mode & 0o077:  # to open a pipe may block for ever
            lines = path.read_text("utf-8", "replace").splitlines()
            for match in filter(None, map(_PASSWORD.match, lines)):
                *given, password = (re.sub(r"\\(.)", r"\1", one) for one in match.groups())
                if all(one in {"*", own} for one, own in zip(given, wanted, strict=True)):
                    return password
    return None


def translate_tls(parts: dict[str, str]) -> None:
    """Let asyncpg take what libpq takes: files that are not there, versions in any case.

    Where the environment names such a file, or a HOME whose files can't be reached, it names none
    afterwards: asyncpg reads it by itself, and fails where libpq goes on.
    """
    try:
        Path(os.path.expanduser("~/.postgresql/root.crt")).stat()  # noqa: PTH111 - never raises
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            for variable, file in (("PGPASSFILE", "pgpass"), ("PGSERVICEFILE", "pg_service.conf")):
                os.environ.setdefault(variable, os.path.expanduser(f"~/.{file}"))  # noqa: PTH111
            os.environ["HOME"] = os.devnull
    is_verified = (parts.get("sslmode") or os.environ.get("PGSSLMODE", "")).startswith("verify")
    for name in ("sslcert", "sslcrl", "sslrootcert"):
        file = parts.get(name) or os.environ.get(f"PG{name.upper()}", "system")
        is_needed = file == "system" or (name == "sslrootcert" and is_verified)
        if not (is_needed or os.access(file, os.F_OK)):
            parts.pop(name, None)
            os.environ.pop(f"PG{name.upper()}", None)
    for name in ("ssl_min_protocol_version", "ssl_max_protocol_version"):
        if value := parts.get(name) or os.environ.get(f"PG{name.replace('_', '').upper()}"):
            parts[name] = value.lower().replace("tls", "TLS")


def trusts_system(parts: dict[str, str]) -> bool:
    """Return whether the system's certificates count; libpq's own OpenSSL finds them afterwards."""
    if (parts.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")) != "system":
        return False
    parts.pop("sslrootcert", None)
    paths = ssl.get_default_verify_paths()
    for name, path in (("SSL_CERT_FILE", paths.cafile), ("SSL_CERT_DIR", paths.capath)):
        if path:
            os.environ.setdefault(name, path)
    return True


def unreadable_file(error: Exception, parts: Mapping[str, str]) -> str | None:
    """Return the file for TLS that an error is about; OpenSSL does not say which."""
    is_file = isinstance(error, FileNotFoundError | PermissionError)
    names = ("sslrootcert", "sslcrl", "sslcert", "sslkey")
    files = [parts.get(name) or os.environ.get(f"PG{name.upper()}") for name in names]
    files += map(str, Path(os.path.expanduser("~/.postgresql")).glob("*"))  # noqa: PTH111
    return next((file for file in files if is_file and file and not os.access(file, os.R_OK)), None)
