"""Kills the processes that a test run leaves behind, however the run ends.

`python guardian.py MARK`: standard input is a pipe whose other end the run holds open until it
exits. MARK is an environment variable that every process started by the run inherits, so a
daemon or the child of a child is found as well. Linux only; elsewhere nothing is found.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

VARIABLE = "GROUNDWORK_TEST_RUN"


def watch() -> None:
    """Start a guardian of this process, and mark what this process will start."""
    os.environ[VARIABLE] = os.urandom(8).hex()
    mark = f"{VARIABLE}={os.environ[VARIABLE]}"
    reading, _ = os.pipe()  # the writing end stays open, and is not inherited
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", __file__, mark],
        {},  # without the mark
        file_actions=[
            (os.POSIX_SPAWN_DUP2, reading, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),  # a reader of the run's
            (os.POSIX_SPAWN_DUP2, 1, 2),  # output meets its end when the run has ended
        ],
        setsid=True,  # Ctrl-C is for the run
    )
    os.close(reading)


def marked(mark: str) -> set[int]:
    """Return the pids of all live processes with this mark in their environment."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.add(int(entry.name))
    return found


def kill(mark: str) -> None:
    """Kill all processes with this mark, until none has been found for half a second."""
    quiet, deadline = 0, time.monotonic() + 30
    while quiet < 5 and time.monotonic() < deadline:
        found = marked(mark)
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        quiet = 0 if found else quiet + 1
        time.sleep(0.1)


if __name__ == "__main__":
    sys.stdin.read()
    kill(sys.argv[1])
