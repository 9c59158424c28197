"""The measured servers: environment, command and process of each."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryFile

from tests.databases import bare_environment
from tests.servers import end, free_port

HERE = Path(__file__).parent
CHECKOUT = HERE.parent
CACHE = CHECKOUT / ".benchmarks"
OPS_TOKEN = "a-token-for-the-benchmark"  # noqa: S105 - it protects nothing
ORIGIN = "https://app.example"
PATIENCE = 30.0

# Everything is enabled: request IDs, access log, metrics, CORS, error handling.
SETTINGS = {
    "ENVIRONMENT": "production",
    "SECRET_KEY": "not-a-secret-" * 3,
    "OPS_TOKEN": OPS_TOKEN,
    "CORS_ALLOW_ORIGINS": ORIGIN,
    "SHUTDOWN_DRAIN_SECONDS": "0",
}


@dataclass(frozen=True)
class Contender:
    """One server: Python's arguments with {port}, and its requirements, if it needs others."""

    name: str
    arguments: Sequence[str]
    requirements: Sequence[str] = ()
    scheme: str = "postgresql"
    settings: Mapping[str, str] = field(default_factory=dict)
    path: Path = HERE / "peers"

    def python(self) -> str:
        """Return the path of its interpreter; create its environment if it is missing."""
        if not self.requirements:
            return sys.executable
        return str(environment(self.name, *self.requirements) / "bin/python")


def _peer(name: str, module: str, *requirements: str) -> Contender:
    return Contender(name, (str(HERE / "peers/serve.py"), module, "{port}"), requirements)


def _ours(name: str, *arguments: str, **settings: str) -> Contender:
    arguments = arguments or ("groundwork", "serve")
    return Contender(name, ("-m", *arguments), settings=SETTINGS | settings, path=CHECKOUT)


ORIGINAL = HERE / "peers/original"
OURS = _ours("Groundwork")
LIMIT = _peer("limit", "limit")
FASTAPI = Contender(
    "FastAPI + SQLAlchemy",
    ("-m", "uvicorn", "groundwork.main:app", "--host", "127.0.0.1", "--port", "{port}"),
    ("-r", str(ORIGINAL / "requirements.txt")),
    scheme="postgresql+asyncpg",
    settings={"SECRET_KEY": "x", "ENVIRONMENT": "production"},
    path=ORIGINAL,
)
PEERS = (
    LIMIT,
    OURS,
    _peer("Starlette", "tutorial"),
    _peer("BlackSheep", "sheep", "blacksheep", "asyncpg", "uvicorn", "uvloop", "httptools"),
    FASTAPI,
)
ACCESS_LOG = _ours("access log written", LOG_LEVEL="DEBUG")


@dataclass(frozen=True)
class Server:
    """A running contender."""

    contender: Contender
    port: int
    process: subprocess.Popen[bytes]


def environment(name: str, *requirements: str) -> Path:
    """Return a peer's virtual environment, with the versions of requirements.txt."""
    folder = CACHE / name.replace(" ", "")
    if (folder / "complete").exists():
        return folder
    uv = os.environ.get("UV", "uv")
    make = [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)]
    subprocess.run(make, check=True, timeout=60)
    install = [uv, "pip", "install", "--quiet", "--compile-bytecode"]
    install += ["--python", str(folder / "bin/python")]
    install += ["--constraint", str(CHECKOUT / "requirements.txt"), *requirements]
    subprocess.run(install, check=True, timeout=300)
    (folder / "complete").touch()
    return folder


@contextmanager
def started(contender: Contender, database: str, core: Sequence[str]) -> Iterator[Server]:
    """Start a server without waiting until it is live, and stop it afterwards."""
    port = free_port()
    arguments = [argument.format(port=port) for argument in contender.arguments]
    variables = {
        "DATABASE_URL": database.replace("postgresql", contender.scheme, 1),
        "PORT": str(port),
        "PYTHONPATH": str(contender.path),
    }
    with TemporaryFile() as log:
        process = subprocess.Popen(
            [*core, contender.python(), *arguments],
            env=bare_environment() | variables | dict(contender.settings),
            cwd=HERE,
            stdout=log,
            stderr=log,
        )
        try:
            yield Server(contender, port, process)
            if process.poll() is not None:
                log.seek(0)
                message = f"{contender.name} has exited: {log.read().decode()}"
                raise RuntimeError(message)
        finally:
            end(process)


@contextmanager
def running(
    contenders: Sequence[Contender], database: str, core: Sequence[str]
) -> Iterator[list[Server]]:
    """Run all servers, each ready; those that get no requests use no CPU."""
    with ExitStack() as stack:
        servers = [stack.enter_context(started(one, database, core)) for one in contenders]
        for server in servers:
            first_ok(server, "/health/ready")
        yield servers


def first_ok(server: Server, path: str) -> float:
    """Send requests until the status code is 200; return its time.perf_counter().

    Raises:
        TimeoutError: it did not happen within 30 s, or the server has exited.
    """
    deadline = time.perf_counter() + PATIENCE
    while time.perf_counter() < deadline and server.process.poll() is None:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=5)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return time.perf_counter()
        except (OSError, HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.001)
    message = f"no 200 from {server.contender.name} for {path}"
    raise TimeoutError(message)


def seconds_to_live(contender: Contender, database: str, core: Sequence[str]) -> float:
    """Return the seconds from the start of a process to its first 200."""
    begun = time.perf_counter()
    with started(contender, database, core) as server:
        return first_ok(server, "/health/live") - begun
