"""What `groundwork psql` becomes."""

import os
import shutil
from unittest.mock import Mock

import pytest

from groundwork.embedded import binaries
from groundwork.psql import psql


@pytest.fixture
def execve(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Replace the call that makes this process psql."""
    monkeypatch.setattr(os, "execve", execve := Mock())
    return execve


def test_the_password_is_not_an_argument(execve: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments are shown in lists of processes, so the password is in the environment."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:s3cret@db:5433/x?sslmode=require")
    psql(["-c", "SELECT 1"])

    _, arguments, environment = execve.call_args.args
    assert "s3cret" not in str(arguments)
    assert arguments[1] == "user=u dbname=x host=db port=5433 sslmode=require"
    assert arguments[2:] == ["-c", "SELECT 1"]
    assert environment["PGPASSWORD"] == "s3cret"


def test_the_embedded_psql_is_enough(execve: Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a psql in PATH, the one of the embedded PostgreSQL is used."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    psql([])

    assert execve.call_args.args[0] == str(binaries() / "psql")
    assert "PGPASSWORD" not in execve.call_args.args[2]
