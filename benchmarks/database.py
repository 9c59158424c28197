"""A PostgreSQL of the benchmark's own, as far away as wanted, that counts its statements."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg2

from tests.faults.cluster import Cluster, new_cluster
from tests.servers import end, free_port, wait_until

_COUNT = """
SELECT coalesce(sum(calls), 0)
FROM pg_stat_statements
WHERE userid = 'app'::regrole
"""
_CONF = """
max_connections = 200
shared_preload_libraries = pg_stat_statements
"""


class Database:
    """Where it is, and how many statements the servers have sent it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._connection = psycopg2.connect(cluster.url("postgres"))
        self._connection.autocommit = True
        self.version = str(self._ask("SHOW server_version"))

    def statements(self) -> int:
        """Count the statements of all servers so far."""
        return int(str(self._ask(_COUNT)))

    def close(self) -> None:
        """Count no more."""
        self._connection.close()

    @contextmanager
    def away(self, milliseconds: int) -> Iterator[str]:
        """Give an address whose round trips take so much longer; 0 is the server itself."""
        if not milliseconds:
            yield self.cluster.url()
            return
        port = free_port()
        figures = (port, self.cluster.port, milliseconds)
        proxy = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.delay", *map(str, figures)],
            cwd=Path(__file__).parents[1],
        )
        try:
            wait_until(lambda: _answers(self.cluster.url("postgres", port)))
            yield self.cluster.url(port=port)
        finally:
            end(proxy)

    def _ask(self, statement: str) -> object:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            (value,) = cursor.fetchone() or (None,)
        return value


@contextmanager
def postgresql() -> Iterator[Database]:
    """Run PostgreSQL on a new, migrated database."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # PostgreSQL is another user where we are root
        cluster = new_cluster(Path(folder) / "data")
        (cluster.data / "postgresql.auto.conf").write_text(_CONF)
        try:
            cluster.start()
            cluster.run("CREATE EXTENSION pg_stat_statements")
            with closing(Database(cluster)) as database:
                yield database
        finally:
            cluster.stop()


def _answers(url: str) -> bool:
    try:
        psycopg2.connect(url, connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True
