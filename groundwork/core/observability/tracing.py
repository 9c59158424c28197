"""Traces: Starlette's OpenTelemetry middleware, if the extra `otel` is there and OTEL_* set."""

import os
from importlib.util import find_spec

from starlette.middleware import Middleware


def tracing() -> list[Middleware]:
    """Return the middleware that exports a span for each request, or none.

    The exporter reads OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME and the others itself.
    """
    if not any(name.startswith("OTEL_") for name in os.environ) or not find_spec("opentelemetry"):
        return []
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from starlette.middleware.opentelemetry import OpenTelemetryMiddleware

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return [Middleware(OpenTelemetryMiddleware, tracer_provider=provider)]
