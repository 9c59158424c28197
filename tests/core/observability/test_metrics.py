"""What is counted."""

import pytest

from groundwork.core.observability.metrics import BUCKETS, Histogram, RequestMetrics


def test_a_duration_falls_into_the_bucket_that_holds_it() -> None:
    """A limit belongs to its bucket, what is over all of them has one more, and all add up."""
    histogram = Histogram()
    for seconds in (BUCKETS[0], BUCKETS[0], 0.002, 99):
        histogram.observe(seconds)

    assert histogram.counts == [2, 1, *[0] * (len(BUCKETS) - 2), 1]
    assert histogram.total == pytest.approx(99.004)


def test_an_unknown_method_is_another() -> None:
    """Whatever methods are tried, they make one series."""
    requests = RequestMetrics()
    for method in ("BREW", "MELT", "GET"):
        requests.observe(method, "/", 405, 1)

    assert requests.by_route.keys() == {("other", "/", 405), ("GET", "/", 405)}
