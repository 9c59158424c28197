"""Traces: the trace ID of a request in its log lines, and the export of spans."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from groundwork import __version__
from groundwork.core.observability.logging import traceparent
from groundwork.core.observability.tracing import tracing
from tests.databases import bare_environment
from tests.servers import Server, serve, wait_until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def access_line(server: Server, traceparent: str) -> dict[str, object]:
    """Send a request with this traceparent and return its access log line."""
    path = f"/{uuid4()}"
    server.get(path, headers={"traceparent": traceparent})
    wait_until(lambda: any(path in line for line in server.lines()))
    (line,) = [line for line in server.lines() if path in line]
    return dict(json.loads(line))


@pytest.mark.parametrize(
    "traceparent",
    [PARENT, PARENT.replace("00-", "01-", 1), PARENT.replace("00-", "cc-", 1) + "-what-comes"],
)
def test_the_trace_id_is_in_the_log(server: Server, traceparent: str) -> None:
    """The log lines of a request with traceparent have its trace ID, also in later versions."""
    assert access_line(server, traceparent)["trace_id"] == TRACE


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        TRACE,
        PARENT.upper(),
        PARENT.replace(TRACE, "0" * 32),
        PARENT.replace("00f067aa0ba902b7", "0" * 16),
        f"{PARENT}-more",
        PARENT.replace("4bf9", '4b"}'),
        PARENT[:-1],
        PARENT.replace("00-", "ff-", 1),
        PARENT.replace("00-", "01-", 1) + "more",
    ],
)
def test_a_malformed_trace_is_ignored(server: Server, traceparent: str) -> None:
    """A malformed traceparent adds no trace ID to the log."""
    assert "trace_id" not in access_line(server, traceparent)


class Collector(BaseHTTPRequestHandler):
    """Records the bodies of POST requests."""

    bodies: list[bytes]

    def do_POST(self) -> None:
        """Record a batch of spans."""
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def collector() -> Iterator[HTTPServer]:
    """Run an OTLP collector."""
    Collector.bodies = []
    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_spans_are_exported(database_url: str, collector: HTTPServer) -> None:
    """With OTEL_* set, a span with trace ID, route, and the service's version is exported."""
    endpoint = f"http://127.0.0.1:{collector.server_port}"
    with serve(DATABASE_URL=database_url, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as server:
        server.get("/health/details", headers={"traceparent": PARENT})
        server.stop()

    spans = b"".join(Collector.bodies)
    assert bytes.fromhex(TRACE) in spans
    assert b"GET /health/details" in spans
    assert re.search(rb"service\.version.{,6}" + re.escape(__version__.encode()), spans, re.DOTALL)


def test_a_trace_that_starts_here_is_in_the_log(database_url: str, collector: HTTPServer) -> None:
    """Without a traceparent, the log lines have the trace ID of the exported span."""
    endpoint = f"http://127.0.0.1:{collector.server_port}"
    with serve(DATABASE_URL=database_url, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as server:
        first, second = access_line(server, ""), access_line(server, "")
        server.stop()

    spans = b"".join(Collector.bodies)
    traces = [bytes.fromhex(str(line["trace_id"])) for line in (first, second)]
    assert traces[0] != traces[1]
    assert [trace for trace in traces if trace not in spans] == []
    assert b"groundwork" in spans


def test_a_silent_collector_does_not_delay_the_exit(database_url: str) -> None:
    """While the collector accepts connections and is silent, shutdown is graceful and soon."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with serve(DATABASE_URL=database_url, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as server:
            server.get("/health/details")
            started = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - started < 8


def test_tracing_without_the_extra_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If OTEL_* is set and OpenTelemetry not installed, one log line says what to install."""
    monkeypatch.setattr("groundwork.core.observability.tracing.find_spec", lambda _: None)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")

    assert tracing() == []

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "groundwork[otel]" in record.getMessage()


def test_no_exporter_means_no_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """With OTEL_TRACES_EXPORTER=none, as for a whole cluster, no span is exported."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")

    assert tracing() == []


def test_opentelemetry_is_imported_only_if_configured(database_url: str) -> None:
    """Unless OTEL_* is set, OpenTelemetry is not imported, even if installed."""
    program = (
        "import sys; from groundwork.main import create_app; create_app(); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=bare_environment() | {"DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        check=True,
    )

    assert not [name for name in done.stdout.split() if name.startswith("opentelemetry")]


@pytest.mark.parametrize("is_remote", [True, False])
def test_a_span_inside_a_request_changes_no_id(
    monkeypatch: pytest.MonkeyPatch, collector: HTTPServer, *, is_remote: bool
) -> None:
    """Within a request, log lines keep the ID of its own span, whoever began the trace."""
    caller = NonRecordingSpan(SpanContext(1, 1, is_remote=True, trace_flags=TraceFlags(1)))
    context = set_span_in_context(caller) if is_remote else None
    endpoint = f"http://127.0.0.1:{collector.server_port}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    (middleware,) = tracing()
    provider: Any = middleware.kwargs["tracer_provider"]
    tracer, token = provider.get_tracer("shop"), traceparent.set(None)
    with tracer.start_as_current_span("request", context):
        outer = traceparent.get()
        with tracer.start_as_current_span("query"):
            assert traceparent.get() == outer is not None
    provider.shutdown()
    traceparent.reset(token)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "groundwork"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=projects"}, "projects"),
        ({"OTEL_SERVICE_NAME": "tracker"}, "tracker"),
    ],
)
def test_the_service_has_the_name_that_is_set(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], expected: str
) -> None:
    """Spans are those of `groundwork`, unless OTEL_* has another name, in either variable."""
    for name, value in {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", **given}.items():
        monkeypatch.setenv(name, value)
    (middleware,) = tracing()
    provider: Any = middleware.kwargs["tracer_provider"]
    provider.shutdown()

    assert provider.resource.attributes["service.name"] == expected


@pytest.mark.parametrize(
    "value", ["abc", "", "0", "-1", "1.5", "9" * 400, "1\n2", "\udcff", "a=%0a"]
)
@pytest.mark.parametrize(
    "name",
    [
        "OTEL_BSP_SCHEDULE_DELAY",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    ],
)
def test_an_invalid_value_is_refused(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    """What OpenTelemetry would log with a traceback or a secret is one line, and exit code 2."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1000")
    monkeypatch.setenv(name, value or ",")
    with pytest.raises(SystemExit, match="2"):
        tracing()

    assert re.fullmatch(f"groundwork: {name}: Expected: [a-z0, =:/]+.\n", capfd.readouterr().err)


def test_a_value_is_trimmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line break at the end, as a file of secrets has, is not part of it."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", " 1000\n")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318\r\n")

    (middleware,) = tracing()

    assert os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector:4318"
    provider: Any = middleware.kwargs["tracer_provider"]
    provider.shutdown()
    assert provider.resource.attributes["service.name"] == "groundwork"


def test_what_opentelemetry_refuses_is_refused(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Any other error of OpenTelemetry's start is one line as well."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")
    with pytest.raises(SystemExit, match="2"):
        tracing()

    assert capfd.readouterr().err.startswith("groundwork: OTEL_*: OpenTelemetry does not start: ")
