"""A PostgreSQL cluster for one test, to kill, freeze and restart."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import psycopg2

from groundwork.embedded import as_owner, binaries, safe_for_initdb
from tests.databases import migrate, run
from tests.servers import descendants, free_port, wait_until

PROGRAMS = Path(os.environ.get("POSTGRES_BIN_DIR") or binaries())
PASSWORD = "s3cret-of-the-app"
# Roles: postgres is trusted, for the tests; app is the service's role and has a password.
_HBA = """
local all all trust
host all app 127.0.0.1/32 scram-sha-256
host all groundwork 127.0.0.1/32 trust
host all reader 127.0.0.1/32 trust
host all postgres 127.0.0.1/32 trust
host replication postgres 127.0.0.1/32 trust
"""
_CONF = """
max_connections = 40
shared_preload_libraries = pg_stat_statements
dynamic_shared_memory_type = mmap
"""
_ROLES = f"""
CREATE ROLE app LOGIN PASSWORD '{PASSWORD}';
GRANT pg_read_all_data, pg_write_all_data TO app;
CREATE ROLE reader LOGIN;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;
"""


class Cluster:
    """One data directory and its server, listening on 127.0.0.1."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, user: str = "app", port: int | None = None, database: str = "groundwork") -> str:
        """Return the URL of a database, through the port of a proxy if given."""
        credentials = f"{user}:{PASSWORD}" if user == "app" else user
        return f"postgresql://{credentials}@127.0.0.1:{port or self.port}/{database}"

    def run(self, statement: str, database: str = "groundwork") -> list[tuple[object, ...]]:
        """Run a statement as the superuser."""
        return run(self.url("postgres", database=database), statement)

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        command = [str(PROGRAMS / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        log = (self.data / "log").open("ab")
        self.process = subprocess.Popen(
            [
                *(*as_owner(self.data), *command),
                *("-k", "", "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
            ],
            stdout=log,
            stderr=log,
        )
        log.close()
        wait_until(self.is_up)

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop the server: SIGINT is a fast shutdown, SIGQUIT and SIGKILL are crashes."""
        if self.process is not None:
            everybody = descendants(self.process.pid) if number == signal.SIGKILL else set()
            self.process.send_signal(number)
            for pid in everybody - {self.process.pid}:
                with suppress(ProcessLookupError):  # it may have noticed by itself
                    os.kill(pid, number)
            self.process.wait(20)
            self.process = None

    def signal_all(self, number: int) -> None:
        """Send a signal to the server and to each of its sessions."""
        assert self.process is not None
        for pid in descendants(self.process.pid):
            with suppress(ProcessLookupError):  # a session may just have ended
                os.kill(pid, number)

    def is_up(self) -> bool:
        """Return whether the server accepts connections."""
        try:
            self.run("SELECT 1", database="postgres")
        except psycopg2.OperationalError:
            return False
        return True

    def copy(self) -> "Cluster":
        """Return another cluster with a copy of this one's data."""
        data = self.data.with_name(uuid4().hex)
        subprocess.run(["cp", "-a", self.data, data], check=True)
        return Cluster(data)


def new_cluster(data: Path) -> Cluster:
    """Create a migrated cluster, stopped, to be copied."""
    data.mkdir(mode=0o700)
    options = ["--no-locale", "-A", "trust", "--no-sync", "--no-instructions", "--wal-segsize=1"]
    options += ["-D", str(data), "-U", "postgres", "-E", "UTF8"]
    with TemporaryDirectory(dir="/tmp") as folder:
        initdb = str(safe_for_initdb(PROGRAMS, folder) / "initdb")
        command = [*as_owner(data), initdb, *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (data / "pg_hba.conf").write_text(_HBA)
    (data / "postgresql.auto.conf").write_text(_CONF)
    cluster = Cluster(data)
    cluster.start()
    cluster.run("CREATE DATABASE groundwork", database="postgres")
    migrate(cluster.url("postgres")).check_returncode()
    cluster.run(_ROLES)
    cluster.stop()
    return cluster


@contextmanager
def taken_slots(cluster: Cluster) -> Iterator[None]:
    """Use up every connection slot, those too that the service gives back meanwhile."""
    with ExitStack() as stack:
        for _ in range(60):
            with suppress(psycopg2.OperationalError):
                stack.enter_context(closing(psycopg2.connect(cluster.url())))
                continue
            time.sleep(0.1)
        yield
