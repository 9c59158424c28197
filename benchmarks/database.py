"""A PostgreSQL for the benchmarks, with a chosen latency, that counts its statements."""

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
    """The cluster, and the number of statements that the servers have sent."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._connection = psycopg2.connect(cluster.url("postgres"))
        self._connection.autocommit = True
        self.version = str(self._query("SHOW server_version"))

    def statements(self) -> int:
        """Return the number of statements of all servers so far."""
        return int(str(self._query(_COUNT)))

    def close(self) -> None:
        """Close the connection that counts."""
        self._connection.close()

    @contextmanager
    def away(self, milliseconds: int) -> Iterator[str]:
        """Return a URL whose round trips take longer by this time; 0 is without a proxy."""
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
            wait_until(lambda: _is_reachable(self.cluster.url("postgres", port)))
            yield self.cluster.url(port=port)
        finally:
            end(proxy)

    def _query(self, statement: str) -> object:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            (value,) = cursor.fetchone() or (None,)
        return value


@contextmanager
def postgresql() -> Iterator[Database]:
    """Run PostgreSQL on a new, migrated database."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # as root, PostgreSQL runs as another user
        cluster = new_cluster(Path(folder) / "data")
        (cluster.data / "postgresql.auto.conf").write_text(_CONF)
        try:
            cluster.start()
            cluster.run("CREATE EXTENSION pg_stat_statements")
            with closing(Database(cluster)) as database:
                yield database
        finally:
            cluster.stop()


def _is_reachable(url: str) -> bool:
    try:
        psycopg2.connect(url, connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True
