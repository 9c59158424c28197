"""What is measured: each server's environment, command and process."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from tests.databases import bare_environment
from tests.faults.cluster import Cluster, new_cluster
from tests.servers import end, free_port

HERE = Path(__file__).parent
CHECKOUT = HERE.parent
CACHE = CHECKOUT / ".benchmarks"
SERVICE = CACHE / "service"  # a copy of the service with the notes example
ORIGIN = "https://app.example"
_SETTINGS = {
    "ENVIRONMENT": "production",
    "SECRET_KEY": "not-a-secret-" * 3,
    "CORS_ALLOW_ORIGINS": ORIGIN,
    "NOTES_SQL": str(SERVICE / "sql/notes"),
    "SHUTDOWN_DRAIN_SECONDS": "0",
}
_NOTES = (
    "INSERT INTO note (title, body) SELECT 'Note ' || gen_random_uuid(), repeat('word ', 20) FROM "
)


@dataclass(frozen=True)
class Contender:
    """A server: Python's arguments with {port} in them, and what to install for it."""

    name: str
    arguments: Sequence[str]
    requirements: Sequence[str] = ()
    path: Path = HERE / "peers"
    scheme: str = "postgresql"


def _peer(name: str, module: str, *requirements: str) -> Contender:
    if requirements:
        requirements += ("asyncpg", "httptools", "msgspec", "uvicorn", "uvloop")
    return Contender(name, (str(HERE / "peers/serve.py"), module, "{port}"), requirements)


LIMIT = _peer("limit", "limit")
OURS = Contender("Groundwork", ("-m", "groundwork", "serve"), path=SERVICE)
FASTAPI = _peer("FastAPI + asyncpg", "fastapi_notes", "fastapi")
ALL = (
    LIMIT,
    OURS,
    _peer("Litestar + asyncpg", "litestar_notes", "litestar"),
    FASTAPI,
    Contender(
        "FastAPI + SQLAlchemy",
        ("-m", "uvicorn", "groundwork.main:app", "--port", "{port}"),
        ("-r", str(HERE / "peers/original/requirements.txt")),
        path=HERE / "peers/original",
        scheme="postgresql+asyncpg",
    ),
)


@dataclass(frozen=True)
class Server:
    """A running contender."""

    name: str
    port: int
    pid: int


@contextmanager
def database() -> Iterator[str]:
    """Run PostgreSQL with a hundred notes in a new database; give its URL."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # as root, PostgreSQL runs as another user
        cluster = new_cluster(Path(folder) / "data")
        (cluster.data / "postgresql.auto.conf").write_text("max_connections = 200")
        try:
            cluster.start()
            _prepare(cluster)
            yield cluster.url()
        finally:
            cluster.stop()


def _prepare(cluster: Cluster) -> None:
    shutil.rmtree(SERVICE, ignore_errors=True)
    SERVICE.mkdir(parents=True)
    for name in ("groundwork", "sql", "tests"):
        shutil.copytree(CHECKOUT / name, SERVICE / name)
    subprocess.run([CHECKOUT / "examples/notes/apply"], cwd=SERVICE, check=True)
    environment = {"DATABASE_URL": cluster.url("postgres"), "PYTHONPATH": str(SERVICE)}
    migrate = [sys.executable, "-m", "groundwork", "migrate"]
    subprocess.run(migrate, env=bare_environment() | environment, cwd=SERVICE, check=True)
    cluster.run("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO app")
    cluster.run(f"{_NOTES} generate_series(1, 100) n")
    cluster.run("VACUUM ANALYZE note")


def _python(contender: Contender) -> str:
    """Return the interpreter, in an environment of its own if it needs other packages than we."""
    if not contender.requirements:
        return sys.executable
    python = CACHE / contender.name.replace(" ", "") / "bin/python"
    complete = python.parents[1] / "complete"
    if not complete.exists():
        uv = os.environ.get("UV", "uv")
        make = [uv, "venv", "-q", "--clear", "--python", sys.executable, str(python.parents[1])]
        subprocess.run(make, check=True, timeout=60)
        install = [uv, "pip", "install", "-q", "--compile-bytecode", "--python", str(python)]
        install += ["--constraint", str(CHECKOUT / "requirements.txt"), *contender.requirements]
        subprocess.run(install, check=True, timeout=300)
        complete.touch()
    return str(python)


@contextmanager
def started(contender: Contender, url: str, core: Sequence[str]) -> Iterator[Server]:
    """Start a server and stop it afterwards; do not wait until it responds.

    Raises:
        RuntimeError: it exited by itself, with its standard error.
    """
    port = free_port()
    command = [*core, _python(contender)]
    command += [argument.format(port=port) for argument in contender.arguments]
    environment = bare_environment() | _SETTINGS
    environment["DATABASE_URL"] = url.replace("postgresql", contender.scheme, 1)
    environment |= {"PORT": str(port), "PYTHONPATH": str(contender.path)}
    with TemporaryFile() as log:
        process = subprocess.Popen(
            command, env=environment, cwd=HERE, stdout=subprocess.DEVNULL, stderr=log
        )
        try:
            yield Server(contender.name, port, process.pid)
        finally:
            code = process.poll()
            end(process)
            if code is not None:
                log.seek(0)
                message = f"{contender.name} exited with {code}: {log.read().decode()}"
                raise RuntimeError(message)


@contextmanager
def running(
    contenders: Sequence[Contender], url: str, core: Sequence[str]
) -> Iterator[list[Server]]:
    """Run all of them at once, each ready; those without requests take no time."""
    with ExitStack() as stack:
        servers = [stack.enter_context(started(one, url, core)) for one in contenders]
        for server in servers:
            wait_for(server, "/health/ready")
        yield servers


def wait_for(server: Server, path: str) -> None:
    """Send requests until one is 200.

    Raises:
        TimeoutError: none was, within 30 s.
    """
    deadline = time.monotonic() + 30
    while get(server.port, path) != 200:
        if time.monotonic() > deadline:
            message = f"{server.name}: no 200 from {path}"
            raise TimeoutError(message)
        time.sleep(0.001)


def get(port: int, path: str) -> int:
    """Return the status of one request on a new connection; 0 if there was no response."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()
    return response.status
