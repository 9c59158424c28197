"""Stops the processes and removes the databases that a test run leaves behind, however it ends.

`python guardian.py MARK`: standard input is a pipe whose other end the run holds open until it
exits. MARK is the value of an environment variable that every process started by the run inherits,
so a daemon or the child of a child is found as well. Linux only; elsewhere nothing is found.
"""

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir

VARIABLE = "GROUNDWORK_TEST_RUN"
MEMORY = Path("/dev/shm")  # noqa: S108 - folders in it are private


def watch() -> None:
    """Start a guardian of this process, and mark what this process will start."""
    mark = os.environ[VARIABLE] = os.urandom(8).hex()
    reading, _ = os.pipe()  # the writing end stays open, and is not inherited
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", __file__, mark],
        {},  # without the mark
        file_actions=[
            (os.POSIX_SPAWN_DUP2, reading, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),  # `pytest | tee` ends
            (os.POSIX_SPAWN_DUP2, 1, 2),  # with the run
        ],
        setsid=True,  # Ctrl-C is for the run
    )
    os.close(reading)


def prefix(mark: str) -> str:
    """Return how the names of the run's folders begin."""
    return f"groundwork-test-{mark}-"


def marked(mark: str) -> set[int]:
    """Return the pids of all live processes with this mark in their environment."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if f"{VARIABLE}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.add(int(entry.name))
    return found


def sockets(pids: set[int]) -> set[str]:
    """Return the folders of the sockets of PostgreSQL servers among these processes."""
    found = set[str]()
    for pid in pids:
        with suppress(OSError):
            found.update(Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0"))
    return {argument for argument in found if argument.startswith("/tmp/groundwork-")}  # noqa: S108 - theirs


def clean_up(mark: str) -> None:
    """End all processes with this mark, until none is found for half a second; 30 s at most."""
    folders = set[str]()
    number, quiet, deadline = signal.SIGINT, 0, time.monotonic() + 30  # PostgreSQL frees its memory
    while quiet < 5 and time.monotonic() < deadline:
        found = marked(mark)
        folders |= sockets(found)
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        quiet = 0 if found else quiet + 1
        time.sleep(0.1 if number == signal.SIGKILL else 0.5)
        number = signal.SIGKILL
    for parent in (MEMORY, Path(gettempdir())):
        for folder in parent.glob(f"{prefix(mark)}*"):
            folders.add(str(folder))
    for path in folders:
        shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    sys.stdin.read()
    clean_up(sys.argv[1])
