"""The machine: which process runs on which core, and what Linux reports of a process."""

import os
import platform
import resource
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from groundwork.embedded import binaries


def split_cores() -> list[str]:
    """Reserve the first core for the servers; this process and what it starts use the others.

    Returns:
        The command to put in front of a server's.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        return []
    os.sched_setaffinity(0, others)
    return ["taskset", "-c", str(first)]


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of all threads of a process."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def memory(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def describe(core: Sequence[str]) -> str:
    """Return date, machine and versions."""
    model = Path("/proc/cpuinfo").read_text().partition("model name\t: ")[2].partition("\n")[0]
    packages = ("uvicorn", "uvloop", "httptools", "asyncpg", "msgspec")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    postgres = (binaries().parent / "include/pg_config.h").read_text().partition('PG_VERSION "')[2]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores of {model or platform.machine()}, "
        f"{platform.system()} {platform.release().split('-')[0]}, "
        f"CPython {platform.python_version()}, {versions}, "
        f"PostgreSQL {postgres.partition('"')[0]}; "
        + ("one core for the server, the others for the rest" if core else "one core for all")
    )
