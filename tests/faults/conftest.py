"""Fixtures: a PostgreSQL cluster, a proxy in front of it, and the service behind both."""

import signal
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

import pytest

from tests.faults.cluster import Cluster, new_cluster
from tests.faults.proxy import Proxy
from tests.servers import Server, serve


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests in this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Return a stopped, migrated cluster to copy."""
    return new_cluster(tmp_path_factory.mktemp("cluster") / "template")


@pytest.fixture
def cluster(template: Cluster) -> Iterator[Cluster]:
    """Start a cluster for one test."""
    cluster = template.copy()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop(signal.SIGQUIT)
        rmtree(cluster.data)  # a hundred of them fill a disk


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Proxy]:
    """Run a proxy in front of the cluster."""
    with Proxy(cluster.port).running() as proxy:
        yield proxy


@pytest.fixture
def service(cluster: Cluster, proxy: Proxy) -> Iterator[Server]:
    """Run the service, connected through the proxy."""
    with serve(DATABASE_URL=cluster.url(port=proxy.port)) as server:
        yield server


@pytest.fixture(autouse=True)
def _uncovered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure no coverage in the servers of these tests: it takes as long again as their start."""
    for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
        monkeypatch.delenv(name, raising=False)
