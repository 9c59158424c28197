"""What sessions are given when they begin, and whether older ones are out of date."""

import time

from groundwork.core.readiness.query import Database

# How long after the sessions were renewed an error may come from a plan of before.
_RENEWED_SECONDS = 5


class Sessions:
    """Compares what the check's session was given with what the last one was."""

    def __init__(self) -> None:
        self._last: tuple[object, ...] | None = None
        self._renewed_at = -1.0 * _RENEWED_SECONDS

    def are_stale(self, row: Database) -> bool:
        """Return whether anything has changed: role, host, search_path, settings, migrations."""
        given = (row.session_properties, row.is_read_only, set(row.applied))
        previous, self._last = self._last, given
        if previous in (None, given):
            return False
        self._renewed_at = time.monotonic()
        return True

    def were_renewed(self) -> bool:
        """Return whether they were replaced a moment ago."""
        return time.monotonic() - self._renewed_at < _RENEWED_SECONDS
