"""Graceful shutdown: no request is dropped, and the process exits in time whatever hangs."""

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
from tests.faults.probes import Watch, begin, get, until
from tests.loop import eventually
from tests.servers import APP, NOISE, SERVE, Server, end, free_port, is_live, serve, wait_until


class KeptAlive:
    """A client that repeats a request on one connection until the server closes it."""

    def __init__(self, port: int) -> None:
        self.responses = 0
        self.closed_by_server = False
        self.task = asyncio.create_task(self._send(port))

    async def _send(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while not self.closed_by_server:
            writer.write(b"GET /health/details HTTP/1.1\r\nHost: x\r\n\r\n")
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].split()[0])
            await reader.readexactly(length)
            self.responses += 1
            self.closed_by_server = b"connection: close" in head
            await asyncio.sleep(0.01)
        writer.close()


@pytest.mark.parametrize("command", [SERVE, APP], ids=["groundwork serve", "uvicorn"])
async def test_the_drain_drops_no_request(database_url: str, command: Sequence[str]) -> None:
    """During the drain readiness is 503 and all requests are served, under every command."""
    environment = {"DATABASE_URL": database_url, "SHUTDOWN_DRAIN_SECONDS": "4"}
    with serve(command, **environment) as server:
        await until(server.port, 200)
        new = Watch(server.port, "/health/details", pause=0.01)
        live = Watch(server.port, "/health/live")
        kept = [KeptAlive(server.port) for _ in range(5)]
        await eventually(lambda: all(client.responses for client in kept))
        sent = server.send(signal.SIGTERM)
        noticed = await until(server.port, 503, "draining")
        await asyncio.gather(*(client.task for client in kept))
        await asyncio.sleep(1.5 - noticed)
        await new.stop()
        await live.stop()
        code, ended = await asyncio.to_thread(server.wait)

    took = ended - sent
    print(
        f"drain: 503 after {noticed:.3f} s, {len(new.responses)} requests, exit after {took:.2f} s"
    )
    assert noticed < 0.2 + NOISE
    assert not new.failures + live.failures
    assert {response.status for response in new.responses + live.responses} == {200}
    assert all(client.closed_by_server and client.responses > 1 for client in kept)
    assert code == (0 if command is SERVE else -signal.SIGTERM)
    assert 4 <= took < 4 + 3 + NOISE


async def test_requests_in_flight_are_completed(database_url: str) -> None:
    """A request in flight when the listeners close completes within the grace period."""
    environment = {"DATABASE_URL": database_url, "SHUTDOWN_GRACE_SECONDS": "5"}
    with serve(APP, **environment) as server:
        slow = await begin(server.port, "/hang/1.5")
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
async def test_shutdown_is_bounded_whatever_hangs(
    own_database: str, path: str | None, environment: dict[str, str]
) -> None:
    """Whatever hangs, the process exits with 1 within drain + grace + 3 s."""
    times = {"SHUTDOWN_DRAIN_SECONDS": "0.2", "SHUTDOWN_GRACE_SECONDS": "0.2"}
    with serve(APP, DATABASE_URL=own_database, **times, **environment) as server:
        await until(server.port, 200)
        if path:
            hanging = await begin(server.port, path)
        else:
            await asyncio.wait({hanging := asyncio.create_task(get(server.port))})
        sent = server.send(signal.SIGTERM)
        code, ended = await asyncio.to_thread(server.wait)
        await asyncio.wait({hanging})
        hanging.exception()

    print(f"hung {path or 'lifespan'}: exit {code} after {ended - sent:.2f} s, bound 3.4 s")
    assert ended - sent < 0.2 + 0.2 + 3 + NOISE
    assert code == 1


async def test_a_frozen_database_does_not_delay_shutdown(cluster: Cluster) -> None:
    """With queries in flight on a frozen database, the process exits in time."""
    times = {"SHUTDOWN_DRAIN_SECONDS": "0.2", "SHUTDOWN_GRACE_SECONDS": "0.2"}
    with serve(APP, DATABASE_URL=cluster.url(), **times) as server:
        await until(server.port, 200)
        cluster.signal_all(signal.SIGSTOP)
        hanging = [await begin(server.port, "/query") for _ in range(3)]
        sent = server.send(signal.SIGTERM)
        _, ended = await asyncio.to_thread(server.wait)
        cluster.signal_all(signal.SIGCONT)
        await asyncio.wait(hanging)
        for task in hanging:
            task.exception()

    print(f"frozen database: exit after {ended - sent:.2f} s, bound 3.4 s")
    assert ended - sent < 0.2 + 0.2 + 3 + NOISE


@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT,)])
async def test_the_drain_can_be_skipped(database_url: str, numbers: tuple[int, ...]) -> None:
    """A second SIGTERM skips the rest of the drain, and SIGINT skips all of it."""
    with serve(DATABASE_URL=database_url, SHUTDOWN_DRAIN_SECONDS="30") as server:
        await until(server.port, 200)
        for _ in numbers[1:]:
            server.send(signal.SIGTERM)
            await until(server.port, 503, "draining")
        sent = server.send(numbers[-1])
        code, ended = await asyncio.to_thread(server.wait)

    assert code == 0
    assert ended - sent < 1 + NOISE


async def test_a_second_interrupt_cancels_requests(database_url: str) -> None:
    """Ctrl-C twice does not wait for requests in flight: 503, exit code 0, and no traceback."""
    with serve(APP, DATABASE_URL=database_url, SHUTDOWN_GRACE_SECONDS="30") as server:
        await until(server.port, 200)
        hanging = await begin(server.port, "/hang/30")
        server.send(signal.SIGINT)
        await asyncio.to_thread(wait_until, lambda: not is_live(server))
        sent = server.send(signal.SIGINT)
        code, ended = await asyncio.to_thread(server.wait)
        lines = server.lines()

    assert (await hanging).status == 503
    assert code == 0
    assert ended - sent < 1 + NOISE
    assert not [line for line in lines if "Traceback" in line]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_up_to_the_end_change_nothing(database_url: str, number: int) -> None:
    """Until the process is gone, more of the same signal cost neither exit code nor log lines."""
    with serve(DATABASE_URL=database_url) as server:
        await until(server.port, 200)
        while server.process.poll() is None:
            server.send(number)
            await asyncio.sleep(0.003)
        lines = server.lines()

    assert server.process.returncode == 0
    assert not [line for line in lines if not line.startswith("{")]


@pytest.mark.parametrize("after", [0.05, 0.2, 0.4, 0.7])
def test_shutdown_in_the_first_second(database_url: str, after: float) -> None:
    """An instance that has just started exits at once, at any point of its startup."""
    port = free_port()
    environment = {"DATABASE_URL": database_url, "PORT": str(port), "SHUTDOWN_DRAIN_SECONDS": "30"}
    process = subprocess.Popen(SERVE, env=bare_environment() | environment, stdout=subprocess.PIPE)
    time.sleep(after)
    sent = time.monotonic()
    process.terminate()
    process.communicate(timeout=20)

    assert time.monotonic() - sent < 1 + NOISE


def test_a_signal_in_the_callback_of_an_import_counts(tmp_path: Path) -> None:
    """Python drops an exception in a callback, so one cannot be what ends the process."""
    lines = [
        *("import os, signal", "class Lock:", "    def __del__(self):"),
        *("        os.kill(os.getpid(), signal.SIGTERM)", "Lock()", "raise OSError"),
    ]
    (tmp_path / "uvicorn.py").write_text("\n".join(lines))
    given = {"DATABASE_URL": "postgresql://", "PYTHONPATH": str(tmp_path), "PORT": str(free_port())}
    environment = bare_environment() | given
    ended = subprocess.run(SERVE, env=environment, capture_output=True, check=False)

    assert (ended.returncode, ended.stderr) == (0, b"")


async def test_a_stalled_consumer_of_stdout_blocks_nothing(database_url: str) -> None:
    """With stdout full, 12,000 requests are served, dropped lines counted, and shutdown works."""
    reading, writing = os.pipe()
    port = free_port()
    environment = {"DATABASE_URL": database_url, "PORT": str(port), "SHUTDOWN_DRAIN_SECONDS": "0"}
    process = subprocess.Popen(SERVE, env=bare_environment() | environment, stdout=writing)
    server = Server(port, process, Path(os.devnull))
    try:
        wait_until(lambda: is_live(server), server)
        statuses = await hammer(port, b"/nowhere", connections=10, each=1200)
        dropped = (await get(port, "/health/details")).body["process"]["log_lines_dropped"]
        sent = time.monotonic()
        code, seconds = server.stop(), time.monotonic() - sent
    finally:
        end(process)
        os.close(reading)
        os.close(writing)

    print(f"stalled stdout: {len(statuses)} responses, {dropped} lines dropped, exit {code}")
    assert statuses == [404] * 12_000
    assert dropped > 0
    assert seconds < 3 + NOISE


async def hammer(port: int, path: bytes, connections: int, each: int) -> list[int]:
    """Send requests on keep-alive connections as fast as possible; return the status codes."""

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
  timeout connect 5s
  timeout client 20s
  timeout server 20s
  timeout check 20s
  retries 0
  option httpchk GET /health/ready
frontend all
  bind 127.0.0.1:{port}
  default_backend instances
backend instances
  server one 127.0.0.1:{one} check inter 500ms fall 2 rise 1
  server two 127.0.0.1:{two} check inter 500ms fall 2 rise 1
"""
# With the options that docs/operations.md gives a server.
_, _, DOCUMENTED = (
    (Path(__file__).parents[2] / "docs/operations.md")
    .read_text()
    .partition("    server 127.0.0.1:8000")
)
OPTIONS, _, _ = DOCUMENTED.partition(";")
NGINX = f"""
daemon off;
pid nginx.pid;
events {{{{}}}}
http {{{{
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  upstream instances {{{{
    server 127.0.0.1:{{one}}{OPTIONS};
    server 127.0.0.1:{{two}}{OPTIONS};
  }}}}
  server {{{{
    listen 127.0.0.1:{{port}};
    location / {{{{ proxy_pass http://instances; }}}}
  }}}}
}}}}
"""


@pytest.mark.parametrize(
    ("command", "template"),
    [(["haproxy", "-f"], HAPROXY), (["nginx", "-e", "stderr", "-p", ".", "-c"], NGINX)],
    ids=["haproxy", "nginx"],
)
async def test_a_rolling_update_loses_no_request(
    database_url: str, tmp_path: Path, command: list[str], template: str
) -> None:
    """Behind HAProxy and nginx, replacing one instance after the other loses no request."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    port, one, two = free_port(), free_port(), free_port()
    configuration = tmp_path / "balancer.conf"
    configuration.write_text(template.format(port=port, one=one, two=two))
    instances = [start(database_url, number) for number in (one, two)]
    process = subprocess.Popen([*command, configuration], cwd=tmp_path, stderr=subprocess.DEVNULL)
    balancer = Server(port, process, Path(os.devnull))
    try:
        for server in (*instances, balancer):
            await asyncio.to_thread(wait_until, lambda s=server: is_live(s), server)
        loads = [Watch(port, "/health/details", pause=0.005) for _ in range(4)]
        for index, instance in enumerate(instances):
            await asyncio.to_thread(wait_until, lambda: all(map(has_requests, instances)))
            instance.send(signal.SIGTERM)
            await asyncio.to_thread(instance.wait)
            instances[index] = start(database_url, instance.port)
        await asyncio.to_thread(wait_until, lambda: all(map(has_requests, instances)))
        for load in loads:
            await load.stop()
    finally:
        for instance in instances:
            instance.send(signal.SIGINT)  # without a drain
        for server in (balancer, *instances):
            end(server.process)

    responses = [response for load in loads for response in load.responses]
    failures = [failure for load in loads for failure in load.failures]
    print(f"two replacements under load: {len(responses)} requests, {len(failures)} lost")
    assert not failures
    assert {response.status for response in responses} == {200}


def has_requests(instance: Server) -> bool:
    """Return whether the load balancer has sent requests to an instance."""
    return is_live(instance) and "/health/details" in instance.get("/metrics").text


def start(database_url: str, port: int) -> Server:
    """Start an instance whose drain is longer than the load balancer takes to notice."""
    environment = {"DATABASE_URL": database_url, "PORT": str(port), "SHUTDOWN_DRAIN_SECONDS": "4"}
    process = subprocess.Popen(
        SERVE, env=bare_environment() | environment, stdout=subprocess.DEVNULL
    )
    return Server(port, process, Path(os.devnull))
