"""No process outlives a test run, however the run ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests import guardian
from tests.guardian import VARIABLE
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
        subprocess.Popen(["sleep", "60"], env={VARIABLE: "a"}) as marked,
        subprocess.Popen(["sleep", "60"], env={VARIABLE: "ab"}) as other,
    ):
        wait_until(lambda: guardian.marked("a"))
        guardian.clean_up("a")
        ended, running = marked.wait(), other.poll() is None
        other.kill()

    assert ended in {-signal.SIGINT, -signal.SIGKILL}  # the latter after half a second
    assert running


def test_a_process_that_ignores_the_signal_is_killed() -> None:
    """A process has half a second to end by itself."""
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); print(flush=True); "
    command = [sys.executable, "-c", code + "signal.pause()"]
    with subprocess.Popen(command, env={VARIABLE: "c"}, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        guardian.clean_up("c")

        assert process.wait() == -signal.SIGKILL


def test_databases_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders of the run are removed, those of other runs are not."""
    monkeypatch.setattr(guardian, "MEMORY", tmp_path)
    own, other = (tmp_path / f"{guardian.prefix(mark)}1" for mark in ("mine", "minor"))
    for folder in (own, other):
        (folder / "postgres").mkdir(parents=True)

    guardian.clean_up("mine")

    assert list(tmp_path.iterdir()) == [other]


def test_sockets_are_removed() -> None:
    """The folder in /tmp of a server's socket is removed with the server."""
    folder = mkdtemp(prefix="groundwork-", dir="/tmp")
    command = [sys.executable, "-c", "import time; time.sleep(60)", "-k", folder]
    with subprocess.Popen(command, env={VARIABLE: "d"}, stderr=subprocess.DEVNULL):
        wait_until(lambda: guardian.marked("d"))
        guardian.clean_up("d")

    assert not Path(folder).exists()
