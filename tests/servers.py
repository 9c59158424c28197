"""Servers for tests: processes on 127.0.0.1, stopped by their PID."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psutil
import pytest

from tests.databases import bare_environment

CHECKOUT = str(Path(__file__).parents[1])
PATIENCE = 20.0  # seconds; a bound for hangs, not a measurement
NOISE = 3.0  # seconds that a busy machine may add to what is promised
SERVE = (sys.executable, "-m", "groundwork", "serve")
UVICORN = (sys.executable, "-m", "uvicorn", "--factory", "groundwork.main:create_app")
_NO_TLS = ssl.SSLContext(
    ssl.PROTOCOL_TLS_CLIENT
)  # otherwise httpx loads all certificates each time
APP = (sys.executable, "-m", "uvicorn", "--factory", "tests.faults.app:create_app")


@dataclass
class Server:
    """A running service: its port, its process, and the file with its output."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Send a GET request."""
        return self.ask("GET", path, **options)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request on its own connection."""
        url = f"http://127.0.0.1:{self.port}{path}"
        return httpx.request(
            method, url, timeout=PATIENCE, verify=_NO_TLS, trust_env=False, **options
        )

    def lines(self) -> list[str]:
        """Return the complete lines written so far."""
        return self.log.read_text().rpartition("\n")[0].splitlines()

    def send(self, number: int) -> float:
        """Send a signal; return its time.monotonic()."""
        self.process.send_signal(number)
        return time.monotonic()

    def wait(self) -> tuple[int, float]:
        """Wait for the exit; return the exit code and its time.monotonic()."""
        code = self.process.wait(PATIENCE)
        return code, time.monotonic()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the exit and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def free_port() -> int:
    """Return a port that no other test gets during this run, in other processes either.

    The port stays bound; a server can listen on it nevertheless, because it sets SO_REUSEADDR.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    port = int(reserved.getsockname()[1])
    reserved.detach()  # stays open until this process exits
    return port


@contextmanager
def serve(command: Sequence[str] = SERVE, **environment: str) -> Iterator[Server]:
    """Run the service with only these settings; wait until it is live, and stop it afterwards."""
    if "MUTANT_UNDER_TEST" in os.environ:
        pytest.skip("mutmut's changes are in this process alone")
    port = free_port()
    if "uvicorn" in command:
        command = (*command, "--port", str(port))
    settings = {"PORT": str(port), "SHUTDOWN_DRAIN_SECONDS": "0", "PYTHONPATH": CHECKOUT}
    settings |= environment
    with TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=bare_environment() | settings, stdout=log, stderr=log, cwd=folder
        )
        server = Server(port, process, Path(log.name))
        try:
            wait_until(lambda: is_live(server), server)
            yield server
        finally:
            end(process)


def is_live(server: Server) -> bool:
    """Return whether the service is live."""
    try:
        return server.get("/health/live").status_code == 200
    except httpx.TransportError:
        return False


def wait_until(condition: Any, server: Server | None = None) -> float:
    """Poll until the condition holds; return the seconds it took."""
    started = time.monotonic()
    while not condition():
        if server is not None and server.process.poll() is not None:
            raise RuntimeError("\n".join(server.lines()))
        if time.monotonic() - started > PATIENCE:
            message = f"not within {PATIENCE} s"
            raise TimeoutError(message)
        time.sleep(0.01)
    return time.monotonic() - started


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a process with SIGTERM first, so that coverage can write its data."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def descendants(pid: int) -> set[int]:
    """Return the PIDs of a process and of all its descendants."""
    return {pid, *(one.pid for one in psutil.Process(pid).children(recursive=True))}


def is_running(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
