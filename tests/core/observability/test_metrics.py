"""The metrics that have labels."""

import subprocess
import sys
from pathlib import Path

import prometheus_client
import pytest

from groundwork.core.observability import metrics
from tests.databases import bare_environment


@pytest.mark.parametrize(
    ("method", "label"), [("GET", "GET"), ("TRACE", "TRACE"), ("BREW", "_OTHER"), ("get", "_OTHER")]
)
def test_an_unknown_method_makes_no_series(method: str, label: str) -> None:
    """What HTTP does not know is _OTHER, as OpenTelemetry has it."""
    assert metrics.method_label(method) == label


def test_a_child_is_looked_up_once() -> None:
    """The same labels give the same object, so that a request pays no search."""
    assert metrics.request_duration("GET", "/x", 200) is metrics.request_duration("GET", "/x", 200)
    assert metrics.active_requests("GET", "http") is metrics.active_requests("GET", "http")


def test_a_histogram_counts_as_prometheus_client_does() -> None:
    """Sum and buckets are the same, also for values on the bounds and beyond the last."""
    samples = []
    for kind in (metrics.Histogram, prometheus_client.Histogram):
        histogram = kind("x", "x", registry=None, buckets=(0.1, 1, 10))
        for amount in (-1, 0, 0.0999, 0.1, 0.1001, 0.5, 1, 9.99, 10, 11, 1e9):
            histogram.observe(amount)
        samples.append([one.value for metric in histogram.collect() for one in metric.samples])
    assert samples[0] == samples[1]
    assert samples[0][3] == 11


@pytest.mark.parametrize("exists", [True, False])
def test_one_process_needs_no_files(tmp_path: Path, *, exists: bool) -> None:
    """PROMETHEUS_MULTIPROC_DIR, set for another program, does not count."""
    folder = tmp_path if exists else tmp_path / "nowhere"
    script = "from groundwork.core.observability import metrics"
    environment = bare_environment() | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}

    subprocess.run([sys.executable, "-Werror", "-c", script], env=environment, check=True)

    assert list(tmp_path.iterdir()) == []
