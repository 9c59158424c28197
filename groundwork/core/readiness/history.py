"""What readiness found: the latest result, its transitions in the log, the last ten minutes."""

import logging
import time
from collections import deque
from datetime import UTC, datetime

from groundwork.core.observability import metrics
from groundwork.core.readiness.result import REASONS, Change, Result, Sample

logger = logging.getLogger(__name__)

_SAMPLES = 600  # ten minutes of checks at the default READINESS_TTL


class History:
    """Keeps results, exports them as metrics, and logs each transition once."""

    def __init__(self) -> None:
        self.latest = Result("unavailable", "starting")
        self.transitions: deque[Change] = deque(maxlen=20)
        self.samples: deque[Sample] = deque(maxlen=_SAMPLES)
        self._since = time.monotonic()
        self._export()

    def publish(self, result: Result) -> None:
        """Make a result the latest one."""
        previous, self.latest = self.latest, result
        self._export()
        if (result.status, result.reason) == (previous.status, previous.reason):
            return
        now = time.monotonic()
        lasted, self._since = round(now - self._since, 3), now
        before = previous.reason or previous.status
        self.transitions.append(
            Change(datetime.now(UTC), result.status, result.reason, before, lasted)
        )
        level = logging.INFO if result.reason in {None, "draining"} else logging.WARNING
        fields = {
            "reason": result.reason,
            "cause": result.cause,
            "previous": before,
            "lasted_seconds": lasted,
        }
        logger.log(level, "readiness is %s", result.status, extra=fields)

    def _export(self) -> None:
        metrics.READY.set(self.latest.status != "unavailable")
        for reason in REASONS:
            is_current = reason == (self.latest.reason or "ok")
            metrics.READINESS_STATE.labels(reason).set(is_current)
