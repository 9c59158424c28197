"""The metrics that have labels."""

import subprocess
import sys
from pathlib import Path

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


@pytest.mark.parametrize("exists", [True, False])
def test_one_process_needs_no_files(tmp_path: Path, *, exists: bool) -> None:
    """PROMETHEUS_MULTIPROC_DIR, set for another program, does not count."""
    folder = tmp_path if exists else tmp_path / "nowhere"
    script = "from groundwork.core.observability import metrics"
    environment = bare_environment() | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}

    subprocess.run([sys.executable, "-Werror", "-c", script], env=environment, check=True)

    assert list(tmp_path.iterdir()) == []
