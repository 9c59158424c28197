"""Idle connections of a proxy, which may send the next request on them at any moment."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from itertools import repeat
from pathlib import Path

import psutil
import pytest

from tests.loop import eventually
from tests.servers import PATIENCE, Server, end, free_port, is_live, serve, wait_until

HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 60s
  http-reuse always
frontend all
  bind 127.0.0.1:{port}
  default_backend service
backend service
  server one 127.0.0.1:{service} pool-purge-delay 60s
"""
POST = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"
PAUSES = [4.98 + number * 0.002 for number in range(40)]  # around uvicorn's own 5 s


@pytest.fixture
def service(database_url: str) -> Iterator[Server]:
    """Run the service with its default settings."""
    with serve(DATABASE_URL=database_url) as server:
        yield server


@pytest.fixture
def balancer(service: Server, tmp_path: Path) -> Iterator[int]:
    """Run HAProxy, which keeps idle connections to the service for 60 s; return its port."""
    if shutil.which("haproxy") is None:
        pytest.skip("haproxy is not installed")
    port, configuration = free_port(), tmp_path / "haproxy.cfg"
    configuration.write_text(HAPROXY.format(port=port, service=service.port))
    process = subprocess.Popen(["haproxy", "-f", configuration], stderr=subprocess.DEVNULL)
    proxy = Server(port, process, Path(os.devnull))
    try:
        wait_until(lambda: is_live(proxy), proxy)
        yield port
    finally:
        end(process)


def peers(service: Server) -> set[int]:
    """Return the ports of those who have a connection to the service."""
    connections = psutil.Process(service.process.pid).net_connections("tcp")
    return {one.raddr.port for one in connections if one.raddr and one.laddr.port == service.port}


async def post(port: int, pause: float, statuses: list[bytes]) -> None:
    """Send two requests on one connection with a pause in between; note the status codes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with closing(writer):
        for seconds in (pause, 0):
            writer.write(POST)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
            statuses.append(head.split()[1])
            await asyncio.sleep(seconds)


async def test_a_proxy_may_reuse_idle_connections(service: Server, balancer: int) -> None:
    """No request is lost that comes as an idle connection of the proxy is five seconds old."""
    statuses: list[list[bytes]] = [[] for _ in PAUSES]
    async with asyncio.timeout(PATIENCE):
        sending = asyncio.gather(*map(post, repeat(balancer), PAUSES, statuses))
        await eventually(lambda: all(statuses))
        before = peers(service)
        await asyncio.wait({sending})
        sending.exception()

    assert statuses == [[b"404"] * 2] * len(PAUSES)
    assert before <= peers(service)
