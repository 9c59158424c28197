"""What readiness keeps; what it answers is in tests/health and tests/faults."""

import asyncio
import dataclasses
import time
from unittest.mock import AsyncMock

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


async def test_a_check_that_hangs_is_a_timeout(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a check waits for beyond its deadline, its callers are answered in time."""
    settings = dataclasses.replace(settings, readiness_timeout=0.05)
    monkeypatch.setattr(pool, "expire_connections", asyncio.Event().wait, raising=False)
    readiness = Readiness(settings, pool, AsyncMock(side_effect=ConnectionRefusedError))

    result = await readiness.check()
    readiness.close()

    assert (result.reason, result.cause) == ("database_timeout", "the check hangs")


async def test_the_next_check_is_not_taken_for_the_one_that_ended(
    settings: Settings, pool: Pool
) -> None:
    """Of two that waited for a check, one starts the next before the other has looked."""
    settings = dataclasses.replace(settings, readiness_ttl=0)
    readiness = Readiness(settings, pool, Connector(settings))

    async def ask_twice() -> None:
        await readiness.check()
        await readiness.check()

    await asyncio.gather(ask_twice(), readiness.check(), readiness.check())
    readiness.close()

    assert [transition.status for transition in readiness.transitions] == ["ok"]


async def test_a_pool_in_full_use_is_no_outage(settings: Settings, pool: Pool) -> None:
    """While every connection is lent the database still answers: degraded, not unavailable."""
    readiness = Readiness(settings, pool, Connector(settings))

    async with pool.acquire():
        result = await readiness.check()
    readiness.close()

    assert (result.status, result.reason) == ("degraded", "pool_saturated")
