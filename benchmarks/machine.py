"""The machine: which process runs on which core, and the resources of a process."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def split_cores() -> list[str]:
    """Reserve one core for the measured server; this process and its children use the others.

    Returns:
        The arguments to put before a server's command.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        return []
    os.sched_setaffinity(0, cores[1:])
    return ["taskset", "-c", str(cores[0])]


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of all threads of a process so far, in seconds."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def peak_memory(pid: int) -> int:
    """Return the peak resident memory of a process, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (peak,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024


def describe(postgres: str) -> str:
    """Return date, machine and versions as one line."""
    cpu = Path("/proc/cpuinfo").read_text().partition("model name\t: ")[2].partition("\n")[0]
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("uvicorn", "uvloop", "httptools", "asyncpg")
    )
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores of {cpu or platform.machine()}, "
        f"{platform.system()} {platform.release().split('-')[0]}, "
        f"CPython {platform.python_version()}, {versions}, PostgreSQL {postgres}; "
        "one core for the server, the other for wrk and PostgreSQL"
    )
