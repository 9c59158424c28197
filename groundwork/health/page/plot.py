"""The plot of the database's latency."""

import math
from collections.abc import Iterable

from groundwork.core.readiness.result import Sample

WINDOW_SECONDS = 600
# A line across a longer pause would suggest checks that were not made.
_PAUSE_SECONDS = 20


def draw(samples: Iterable[Sample], now: float) -> tuple[str, str]:
    """Return two paths for a box of 600 by 100 that ends at `now`: latencies and failed checks.

    A check ends within a second, so a logarithmic axis from 0.1 ms to 1 s holds all of them.
    """
    curve, failures, before = "", "", -math.inf
    for at, latency in samples:
        x = f"{WINDOW_SECONDS - (now - at):.1f}"
        if latency is None:
            failures += f"M{x} 0v100"
            before = -math.inf
        else:
            y = 100 - 25 * min(math.log10(max(latency, 0.0001) / 0.0001), 4)
            curve += f"{'L' if at - before <= _PAUSE_SECONDS else 'M'}{x} {y:.1f}h0"
            before = at
    return curve, failures
