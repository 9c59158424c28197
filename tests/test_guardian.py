"""No process outlives a test run, however the run ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import guardian
from tests.servers import is_running, wait_until

RUN = """
import os, signal, subprocess
from pathlib import Path
from tests.databases import bare_environment

def test_kills_its_run():
    server = subprocess.Popen(["sleep", "60"], env=bare_environment(), start_new_session=True)
    daemon = subprocess.run("sleep 60 >/dev/null & echo $!", shell=True, stdout=subprocess.PIPE)
    Path("pids").write_text(f"{server.pid} {daemon.stdout.decode()}")
    os.kill(os.VICTIM(), signal.SIGKILL)
    signal.pause()
"""


@pytest.mark.parametrize("victim", ["getpid", "getppid"])
def test_no_process_outlives_a_killed_run(tmp_path: Path, victim: str) -> None:
    """A worker or a whole run that is killed takes its servers and daemons with it."""
    (tmp_path / "test_it.py").write_text(RUN.replace("VICTIM", victim))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.workers",
        "-n1",
        "--max-worker-restart=0",
    ]
    environment = {name: text for name, text in os.environ.items() if "PYTEST" not in name}

    subprocess.run(
        command, cwd=tmp_path, env=environment, check=False, capture_output=True, timeout=60
    )

    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    wait_until(lambda: not any(is_running(pid) for pid in pids))


def test_only_marked_processes_are_killed() -> None:
    """A process without the mark of the run lives on."""
    with (
        subprocess.Popen(["sleep", "60"], env={"MARK": "1"}) as marked,
        subprocess.Popen(["sleep", "60"], env={"MARK": "12"}) as other,
    ):
        wait_until(lambda: guardian.marked("MARK=1"))
        guardian.kill("MARK=1")
        found = (marked.wait(), other.poll())
        other.kill()

    assert found == (-9, None)
