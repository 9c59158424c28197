"""The service with one thing taken away: `python -m benchmarks.variants no-metrics`."""

import sys
from typing import override

from groundwork import main
from groundwork.core.config import load_settings
from groundwork.core.observability.metrics import RequestMetrics
from groundwork.serve import serve


class NoMetrics(RequestMetrics):
    """Counts nothing."""

    __slots__ = ()

    @override
    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        pass


if __name__ == "__main__":
    if sys.argv[1] == "no-metrics":
        vars(main)["RequestMetrics"] = NoMetrics
    serve(load_settings())
