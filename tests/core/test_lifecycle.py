"""What a stop does within the process; tests/faults has real ones."""

import asyncio
import os
import signal
import threading
from unittest.mock import Mock

import pytest

from groundwork.core import lifecycle
from groundwork.core.config import Settings
from groundwork.core.lifecycle import Lifecycle

SETTINGS = Settings(database_url="postgresql://", shutdown_grace_seconds=0)


def test_a_thread_has_no_signals_to_handle() -> None:
    """Outside the main thread, where no signal arrives, it leaves the handlers as they are."""
    before, within = signal.getsignal(signal.SIGTERM), []

    def serve() -> None:
        with Lifecycle(SETTINGS).handle_signals(on_drain=Mock()):
            within.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()

    assert within == [before]


async def test_the_watchdog_ends_what_does_not_stop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After drain, grace and a margin it says so and ends the process with 1."""
    server, ended = Mock(), asyncio.get_running_loop().create_future()
    set_result = asyncio.get_running_loop().call_soon_threadsafe
    monkeypatch.setattr(os, "_exit", lambda code: set_result(ended.set_result, code))
    monkeypatch.setattr(lifecycle, "_MARGIN_SECONDS", 0.05)
    before = signal.signal(signal.SIGTERM, server)
    with Lifecycle(SETTINGS).handle_signals(on_drain=Mock()):
        signal.raise_signal(signal.SIGTERM)
        code = await asyncio.wait_for(ended, 20)
    signal.signal(signal.SIGTERM, before)

    assert (code, server.call_count) == (1, 1)
    assert "ended by the watchdog" in caplog.text
