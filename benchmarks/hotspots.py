"""Hot spots: py-spy profiles a server under load."""

import subprocess
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.load import Case, drive
from benchmarks.servers import CHECKOUT, Server, environment

_TOP = 10


def top(server: Server, case: Case, seconds: int) -> list[tuple[float, str]]:
    """Return the ten functions with the highest own time, as shares of all samples."""
    spy = environment("py-spy", "py-spy") / "bin/py-spy"
    with TemporaryDirectory() as folder:
        file = Path(folder) / "stacks"
        record = [str(spy), "record", "--pid", str(server.process.pid), "--function"]
        record += ["--format", "raw", "--rate", "500", "--duration", str(seconds)]
        watching = subprocess.Popen(
            [*record, "--output", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        drive(case, server.port, seconds + 1)
        watching.wait(30)
        stacks = file.read_text().splitlines()
    return _shares(stacks)


def _shares(stacks: list[str]) -> list[tuple[float, str]]:
    own: Counter[str] = Counter()
    for stack in stacks:
        frames, _, count = stack.rpartition(" ")
        if "log_queue.py" in frames:
            continue  # this thread waits, but py-spy counts it as running
        own[_short(frames.rpartition(";")[2])] += int(count)
    return [(count / own.total(), function) for function, count in own.most_common(_TOP)]


def _short(frame: str) -> str:
    function, _, file = frame.partition(" (")
    file = file.rstrip(")").removeprefix(f"{CHECKOUT}/")
    return f"{function} ({file.rpartition('site-packages/')[2]})"
