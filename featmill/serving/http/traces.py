"""OpenTelemetry traces, where the standard variables ask for them; without, nothing of it is imported.

A request's span continues the caller's (`traceparent`); the read of the store is a span below it. Neither carries a
key or a value.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Traces:
    """The spans of one server's requests."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("featmill")

    @contextmanager
    def request(self, headers: Mapping[bytes, bytes]) -> Iterator[Span]:
        """The span of a request for features."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carried = {
            name: headers[name.encode()].decode("latin-1")
            for name in ("traceparent", "tracestate")
            if name.encode() in headers
        }
        with self._tracer.start_as_current_span(
            "POST /features",
            TraceContextTextMapPropagator().extract(carried),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": "POST", "http.route": "/features"},
        ) as span:
            yield span

    @contextmanager
    def store_read(self, service: str) -> Iterator[Span]:
        """The span of the read below it."""
        from opentelemetry.trace import SpanKind

        with self._tracer.start_as_current_span(
            "read features",
            kind=SpanKind.CLIENT,
            attributes={"db.system.name": "redis", "featmill.service": service},
        ) as span:
            yield span

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def from_environment() -> Traces | None:
    """Traces as the standard OTEL_ variables say; None where they do not ask for any.

    OTEL_EXPORTER_OTLP_ENDPOINT (or ..._TRACES_ENDPOINT) asks, or OTEL_TRACES_EXPORTER=otlp; OTEL_SDK_DISABLED=true and
    OTEL_TRACES_EXPORTER=none refuse. OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES and OTEL_TRACES_SAMPLER count too.
    """
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "")
    is_asked = exporter == "otlp" or any(os.environ.get(name) for name in _ENDPOINTS)
    is_off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or exporter == "none"
    if is_off or not is_asked:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # What the environment says wins over what is said here, except for a name that is said in neither.
    named = {} if "OTEL_SERVICE_NAME" in os.environ else {SERVICE_NAME: "featmill"}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider)
