"""A cluster, a proxy in front of it, and the service behind both, for each test of its own."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.cluster import Cluster, new_cluster
from tests.faults.proxy import Proxy
from tests.servers import Server, serve


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests in this folder, and let them come last."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Give a stopped, migrated cluster to copy."""
    return new_cluster(tmp_path_factory.mktemp("cluster") / "template")


@pytest.fixture
def cluster(template: Cluster) -> Iterator[Cluster]:
    """Give a running cluster of the test's own."""
    cluster = template.copy()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop(signal.SIGQUIT)


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[Proxy]:
    """Give a proxy in front of it."""
    with Proxy(cluster.port).running() as proxy:
        yield proxy


@pytest.fixture
def service(cluster: Cluster, proxy: Proxy) -> Iterator[Server]:
    """Give the service, by way of the proxy."""
    with serve(DATABASE_URL=cluster.url(port=proxy.port)) as server:
        yield server
