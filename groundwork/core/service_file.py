"""libpq's connection service file: asyncpg reads part of it, and `%` as something of its own."""

import os
from contextlib import suppress
from pathlib import Path


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
    found: dict[str, str] = {}
    with suppress(OSError):
        is_ours = False
        for line in map(str.strip, Path(path).read_text("utf-8", "replace").splitlines()):
            if line.startswith("["):
                is_ours = not found and line.startswith(f"[{name}]")
            elif is_ours and "=" in line and not line.startswith("#"):
                key, _, value = line.partition("=")
                found.setdefault(key, value)
    return found
