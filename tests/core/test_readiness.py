"""What readiness keeps; what it answers is in tests/health and tests/faults."""

import dataclasses
import time

import pytest

from groundwork.core.config import Settings
from groundwork.core.database import Connector, Pool
from groundwork.core.readiness import Readiness


@pytest.mark.parametrize(("ttl", "samples"), [(60.0, 1), (0.0, 3)])
async def test_history_has_each_check_once(
    settings: Settings, pool: Pool, ttl: float, samples: int
) -> None:
    """A check leaves one sample with its latency; an answer that is reused leaves none."""
    settings = dataclasses.replace(settings, readiness_ttl=ttl)
    readiness = Readiness(settings, pool, Connector(settings))

    for _ in range(3):
        await readiness.check()
    readiness.close()

    assert len(readiness.history) == samples
    assert all(0 < (sample.latency or 0) < 1 for sample in readiness.history)
    assert readiness.history[-1].at <= time.monotonic()


async def test_history_has_failed_checks(settings: Settings, pool: Pool) -> None:
    """A check that fails leaves a sample without a latency."""
    nowhere = settings.database_url.replace("groundwork_test", "nowhere")
    settings = dataclasses.replace(settings, database_url=nowhere)
    readiness = Readiness(settings, pool, Connector(settings))

    await readiness.check()

    assert [sample.latency for sample in readiness.history] == [None]


async def test_history_is_bounded(settings: Settings, pool: Pool) -> None:
    """However long it runs, it keeps the last 600 checks."""
    settings = dataclasses.replace(settings, readiness_ttl=0)
    readiness = Readiness(settings, pool, Connector(settings))
    for _ in range(601):
        await readiness.check()
    readiness.close()

    assert len(readiness.history) == 600
