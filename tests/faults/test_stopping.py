"""Stopping, exactly: nothing is dropped, and nothing that hangs delays the end for long."""

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.databases import bare_environment
from tests.faults.cluster import Cluster
from tests.faults.probes import Watch, get, until
from tests.servers import APP, SERVE, Server, free_port, is_live, serve, wait_until

NOISE = 1.0  # seconds that a noisy machine may add to a bound
KNOWN = 1.1  # from its second second on an instance is worth draining


class KeptAlive:
    """A client that asks again and again on one connection, until it is told to close it."""

    def __init__(self, port: int) -> None:
        self.answered = 0
        self.closed_by_server = False
        self.task = asyncio.create_task(self._ask(port))

    async def _ask(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while not self.closed_by_server:
            writer.write(b"GET /health/details HTTP/1.1\r\nHost: x\r\n\r\n")
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].split()[0])
            await reader.readexactly(length)
            self.answered += 1
            self.closed_by_server = b"connection: close" in head
            await asyncio.sleep(0.01)
        writer.close()


@pytest.mark.parametrize("command", [SERVE, APP], ids=["groundwork serve", "uvicorn"])
async def test_a_drain_drops_nothing(database_url: str, command: Sequence[str]) -> None:
    """While it drains, readiness is 503 and all else is served, whoever runs the service."""
    environment = {"DATABASE_URL": database_url, "SHUTDOWN_DRAIN_SECONDS": "2"}
    with serve(command, **environment) as server:
        await until(server.port, 200)
        await asyncio.sleep(KNOWN)
        new = Watch(server.port, "/health/details", pause=0.01)
        live = Watch(server.port, "/health/live")
        kept = [KeptAlive(server.port) for _ in range(5)]
        await asyncio.sleep(0.3)
        asked = server.send(signal.SIGTERM)
        noticed = await until(server.port, 503, "draining")
        await asyncio.gather(*(client.task for client in kept))
        await asyncio.sleep(1.5 - noticed)
        await new.stop()
        await live.stop()
        code, ended = await asyncio.to_thread(server.wait)

    took = ended - asked
    print(f"drain: 503 after {noticed:.3f} s, {len(new.answers)} requests, exit after {took:.2f} s")
    assert noticed < 0.2 + NOISE
    assert not new.failures + live.failures
    assert {answer.status for answer in new.answers + live.answers} == {200}
    assert all(client.closed_by_server and client.answered > 1 for client in kept)
    assert code == (0 if command is SERVE else -signal.SIGTERM)
    assert 2 <= took < 2 + 3 + NOISE


async def test_requests_in_flight_are_finished(database_url: str) -> None:
    """A request that began before the listeners closed gets its grace."""
    environment = {"DATABASE_URL": database_url, "SHUTDOWN_GRACE_SECONDS": "5"}
    with serve(APP, **environment) as server:
        await asyncio.sleep(KNOWN)
        slow = asyncio.create_task(get(server.port, "/hang/1.5"))
        await asyncio.sleep(0.3)
        server.send(signal.SIGTERM)

        assert (await slow).status == 200
        await asyncio.to_thread(server.wait)


@pytest.mark.parametrize(
    ("path", "environment"),
    [
        ("/hang/3600", {}),
        ("/hold/3600", {}),
        ("/block", {}),
        (None, {"NEVER_RETURN": "1"}),
    ],
    ids=["a handler", "a statement", "a thread", "the lifespan"],
)
async def test_nothing_that_hangs_delays_the_end(
    own_database: str, path: str | None, environment: dict[str, str]
) -> None:
    """Whatever hangs, the process ends within drain + grace + 3 s."""
    times = {"SHUTDOWN_DRAIN_SECONDS": "0.2", "SHUTDOWN_GRACE_SECONDS": "0.2"}
    with serve(APP, DATABASE_URL=own_database, **times, **environment) as server:
        await until(server.port, 200)
        await asyncio.sleep(KNOWN)
        hanging = asyncio.create_task(get(server.port, path or "/health/live"))
        await asyncio.sleep(0.3)
        asked = server.send(signal.SIGTERM)
        code, ended = await asyncio.to_thread(server.wait)
        await asyncio.wait({hanging})
        hanging.exception()

    print(f"hung {path or 'lifespan'}: exit {code} after {ended - asked:.2f} s, bound 3.4 s")
    assert ended - asked < 0.2 + 0.2 + 3 + NOISE
    assert code == 1


async def test_a_frozen_database_delays_no_end(cluster: Cluster) -> None:
    """With requests in a database that has stopped, the bound holds, and it is no clean stop."""
    times = {"SHUTDOWN_DRAIN_SECONDS": "0.2", "SHUTDOWN_GRACE_SECONDS": "0.2"}
    with serve(APP, DATABASE_URL=cluster.url(), **times) as server:
        await until(server.port, 200)
        await asyncio.sleep(KNOWN)
        cluster.signal_all(signal.SIGSTOP)
        hanging = [asyncio.create_task(get(server.port, "/query")) for _ in range(3)]
        await asyncio.sleep(0.3)
        asked = server.send(signal.SIGTERM)
        _, ended = await asyncio.to_thread(server.wait)
        cluster.signal_all(signal.SIGCONT)
        await asyncio.wait(hanging)
        for task in hanging:
            task.exception()

    print(f"frozen database: exit after {ended - asked:.2f} s, bound 3.4 s")
    assert ended - asked < 0.2 + 0.2 + 3 + NOISE


@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT,)])
async def test_a_drain_can_be_cut_short(database_url: str, numbers: tuple[int, ...]) -> None:
    """A second SIGTERM ends the drain, and SIGINT has none."""
    with serve(DATABASE_URL=database_url, SHUTDOWN_DRAIN_SECONDS="30") as server:
        await until(server.port, 200)
        await asyncio.sleep(KNOWN)
        for number in numbers:
            asked = server.send(number)
            await asyncio.sleep(0.3)
        code, ended = await asyncio.to_thread(server.wait)

    assert code == 0
    assert ended - asked < 1 + NOISE


@pytest.mark.parametrize("after", [0.05, 0.2, 0.4, 0.7])
def test_a_stop_in_the_first_second(database_url: str, after: float) -> None:
    """An instance that no balancer can know yet ends at once, at whatever point of its start."""
    port = free_port()
    environment = {"DATABASE_URL": database_url, "PORT": str(port), "SHUTDOWN_DRAIN_SECONDS": "30"}
    process = subprocess.Popen(SERVE, env=bare_environment() | environment, stdout=subprocess.PIPE)
    time.sleep(after)
    asked = time.monotonic()
    process.terminate()
    process.communicate(timeout=20)

    assert time.monotonic() - asked < 1 + NOISE


async def test_a_stalled_reader_of_stdout_stops_nothing(database_url: str) -> None:
    """With stdout full, 10,000 requests are answered, lost lines are shown, and it still ends."""
    reading, writing = os.pipe()
    port = free_port()
    environment = {"DATABASE_URL": database_url, "PORT": str(port), "SHUTDOWN_DRAIN_SECONDS": "0"}
    process = subprocess.Popen(SERVE, env=bare_environment() | environment, stdout=writing)
    server = Server(port, process, Path(os.devnull))
    try:
        wait_until(lambda: is_live(server), server)
        statuses = await hammer(port, b"/nowhere", connections=10, each=1200)
        dropped = (await get(port, "/health/details")).body["process"]["log_lines_dropped"]
        asked = time.monotonic()
        code = server.stop()
    finally:
        os.close(reading)
        os.close(writing)

    print(f"stalled stdout: {len(statuses)} answers, {dropped} lines dropped, exit {code}")
    assert statuses == [404] * 12_000
    assert dropped > 0
    assert time.monotonic() - asked < 3 + NOISE


async def hammer(port: int, path: bytes, connections: int, each: int) -> list[int]:
    """Ask on kept connections as fast as it goes; return the status codes."""

    async def one() -> list[int]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        statuses = []
        for _ in range(each):
            writer.write(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
            statuses.append(int(head.split()[1]))
        writer.close()
        return statuses

    return [
        status
        for many in await asyncio.gather(*(one() for _ in range(connections)))
        for status in many
    ]


HAPROXY = """
defaults
  mode http
  timeout connect 1s
  timeout client 10s
  timeout server 10s
  option httpchk GET /health/ready
frontend all
  bind 127.0.0.1:{port}
  default_backend instances
backend instances
  server one 127.0.0.1:{one} check inter 100ms fall 2 rise 1
  server two 127.0.0.1:{two} check inter 100ms fall 2 rise 1
"""


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
async def test_instances_are_replaced_without_a_lost_request(
    database_url: str, tmp_path: Path
) -> None:
    """Behind a balancer that checks readiness, replacing them one by one loses nothing."""
    port, one, two = free_port(), free_port(), free_port()
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(HAPROXY.format(port=port, one=one, two=two))
    instances = [start(database_url, number) for number in (one, two)]
    balancer = subprocess.Popen(["haproxy", "-f", configuration], stderr=subprocess.DEVNULL)
    try:
        for instance in instances:
            await asyncio.to_thread(wait_until, lambda i=instance: is_live(i))
        await asyncio.sleep(1.5)
        loads = [Watch(port, "/health/details", pause=0.005) for _ in range(4)]
        for _ in range(3):
            for index, instance in enumerate(instances):
                instance.send(signal.SIGTERM)
                await asyncio.to_thread(instance.wait)
                instances[index] = start(database_url, instance.port)
                await asyncio.to_thread(wait_until, lambda i=index: is_live(instances[i]))
                await asyncio.sleep(0.5)  # for the balancer; it is known by its turn to go
        for load in loads:
            await load.stop()
    finally:
        for process in (balancer, *(instance.process for instance in instances)):
            process.terminate()
            process.wait(20)

    answers = [answer for load in loads for answer in load.answers]
    failures = [failure for load in loads for failure in load.failures]
    print(f"six replacements under load: {len(answers)} requests, {len(failures)} lost")
    assert not failures
    assert {answer.status for answer in answers} == {200}


def start(database_url: str, port: int) -> Server:
    """Start an instance that drains for longer than the balancer takes to notice."""
    environment = {"DATABASE_URL": database_url, "PORT": str(port), "SHUTDOWN_DRAIN_SECONDS": "0.8"}
    process = subprocess.Popen(
        SERVE, env=bare_environment() | environment, stdout=subprocess.DEVNULL
    )
    return Server(port, process, Path(os.devnull))
