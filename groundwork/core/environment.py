"""Raw settings: environment variables, NAME_FILE and `.env`, read and checked in one place."""

import os
import re
import stat
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import NoReturn

ENVIRONMENTS = ("development", "staging", "production")
# `groundwork dev` writes the address of its own PostgreSQL here while it runs.
DEV_DATABASE_URL = Path(".groundwork/database_url")
_MAX_BYTES = 65_536
# Python decodes what is not UTF-8 in a variable as surrogates.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_Texts = dict[str, str]  # by name


def read_environment(names: Collection[str], *, running_dev: bool = True) -> tuple[_Texts, _Texts]:
    """Return the raw value of each variable that is set, and what is wrong with the others.

    The environment wins over `.env`, which is read in development only, and `.env` over the
    database of a running `groundwork dev`, which removes PG* from the environment: they are for
    another server. Errors have the name of the variable or file as key and hold no value.
    """
    values, errors = _Texts(), _Texts()
    _add(os.environ, names, values, errors)
    if "ENVIRONMENT" not in errors and values.get("ENVIRONMENT", "development") == "development":
        try:
            _add(_read_dotenv(), names, values, errors)
        except ValueError as error:
            errors[".env"] = str(error)
        if running_dev and "DATABASE_URL" not in values and os.path.lexists(DEV_DATABASE_URL):
            unset_pg()  # as dev.py does
            _add({"DATABASE_URL_FILE": str(DEV_DATABASE_URL)}, names, values, errors)
    return values, errors


def unset_pg() -> None:
    """Remove PG* from the environment: libpq, asyncpg and PostgreSQL itself read them."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


def exit_with(message: str) -> NoReturn:
    """Print a message for the operator on stderr, and exit with 2."""
    say(f"groundwork: {message}", 2)
    sys.exit(2)


def say(line: str, descriptor: int = 1) -> None:
    """Print a line; a closed or full output stops no command, nor changes its exit code."""
    with suppress(OSError):
        os.write(descriptor, f"{line}\n".encode(errors="backslashreplace"))


def _add(
    source: Mapping[str, str | None], names: Collection[str], values: _Texts, errors: _Texts
) -> None:
    for name in names:
        file, value = source.get(f"{name}_FILE"), source.get(name)
        if name in values or name in errors or value is file is None:
            continue
        try:
            if file is not None and value is not None:
                _refuse(f"{name} is set too; set one of them.")
            text = (value or "" if file is None else _read(file.strip())).strip()
            if _UNPRINTABLE.search(text):
                _refuse("Contains a line break, a control character, or bytes that are not UTF-8.")
            values[name] = text
        except ValueError as error:
            errors[name] = str(error) if file is None else f"{name}_FILE: {error}"


def _read_dotenv() -> dict[str, str | None]:
    """Return what `.env` sets; `${NAME}` in a value is replaced."""
    if not os.path.lexists(".env") or Path(".env").is_dir():  # as a virtual environment is
        return {}
    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    text = _read(".env")
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            _refuse(f"Line {binding.original.line} is not NAME=value.")
    return dotenv_values(stream=StringIO(text))


def _read(path: str) -> str:
    try:
        found = Path(path).stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_BYTES:  # a pipe may never end
            _refuse(f"Not a regular file of at most {_MAX_BYTES} bytes.")
        return Path(path).read_text("utf-8-sig")
    except (OSError, UnicodeError) as error:
        _refuse(f"The file cannot be read: {getattr(error, 'strerror', 'not UTF-8')}.")


def _refuse(message: str) -> NoReturn:
    raise ValueError(message)
