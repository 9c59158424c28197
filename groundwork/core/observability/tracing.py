"""Traces: Starlette's OpenTelemetry middleware, if OTEL_* is set and the extra `otel` installed."""

import logging
import os
import re
from importlib.util import find_spec
from typing import Any, override

from starlette.middleware import Middleware

from groundwork import __version__
from groundwork.core.environment import exit_with
from groundwork.core.observability.logging import traceparent

# OpenTelemetry would log their value or a traceback, and replace them or fail at each export.
_FORMS = {
    r"OTEL_\w+_(DELAY|INTERVAL|LIMIT|SIZE|TIMEOUT)": (r"[1-9]\d{0,8}", "a whole number above 0"),
    r"OTEL_EXPORTER_OTLP_(TRACES_)?ENDPOINT": (r"(https?://.+)?", "http://host:port"),
    r"OTEL_\w+_HEADERS": (r"([\w.-]+=((?!%[01]|,)[ -~])*(,\s*|\Z))*", "name=value,name=value"),
}


def tracing() -> list[Middleware]:
    """Return the middleware that exports a span for each request, or none.

    The exporter reads OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME and the others itself.
    """
    is_off = os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    if is_off or not any(name.startswith("OTEL_") for name in os.environ):
        return []
    if not find_spec("opentelemetry"):
        message = "OTEL_* is set, but no traces are exported: install the extra groundwork[otel]"
        logging.getLogger(__name__).warning(message)
        return []
    for pattern, (form, expected) in _FORMS.items():
        for name in filter(re.compile(pattern).fullmatch, os.environ):
            os.environ[name] = os.environ[name].strip()
            if not re.fullmatch(form, os.environ[name], re.ASCII):
                exit_with(f"{name}: Expected: {expected}.")
    try:
        return [_middleware()]
    except Exception as error:  # noqa: BLE001 - whatever it does not take
        exit_with(f"OTEL_*: OpenTelemetry does not start: {str(error)!r}")


def _middleware() -> Middleware:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from starlette.middleware.opentelemetry import OpenTelemetryMiddleware

    class Spans(BatchSpanProcessor):
        @override
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            """Give the log lines of the request the trace ID of its span."""
            if span.parent is None or span.parent.is_remote:
                context = span.get_span_context()
                traceparent.set(f"00-{context.trace_id:032x}-{context.span_id:016x}-01")

        @override
        def shutdown(self) -> None:
            """Export what is left, for less than the watchdog allows after the grace period."""
            self._batch_processor.shutdown(timeout_millis=2000)

    own = Resource.create({"service.name": "groundwork", "service.version": __version__})
    given = OTELResourceDetector().detect()  # OTEL_RESOURCE_ATTRIBUTES may have these
    provider = TracerProvider(resource=own.merge(given))
    provider.add_span_processor(Spans(OTLPSpanExporter()))
    return Middleware(OpenTelemetryMiddleware, tracer_provider=provider)
