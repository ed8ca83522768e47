"""OpenTelemetry traces, where the operator enables them; without, only a caller's `traceparent` is passed on.

A request outlives the call that submits it, and its stages run in other processes: their spans are joined by the text
of W3C's header `traceparent` (https://www.w3.org/TR/trace-context/), which is stored in the request's row. Spans never
contain prompts, keys or error messages.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from tintype import __version__
from tintype.telemetry.logs import Outage

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

HEADER = "traceparent"
#: Version 00; all-zero ids are invalid.
TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
#: Entry points of exporters, the SDK's own `console` among them.
GROUP = "opentelemetry_traces_exporter"


class Tracing:
    """Makes spans in this process, as children of the one that a `traceparent` names; without a tracer, none."""

    def __init__(self, tracer: Tracer | None = None, close: Callable[[], None] = lambda: None) -> None:
        self._tracer = tracer
        #: Exports the remaining spans.
        self.close = close

    @contextmanager
    def span(self, name: str, parent: str | None, **about: str | int) -> Iterator[str | None]:
        """A span around the block; yields the `traceparent` for its children.

        parent: an untrusted `traceparent`; an invalid one is ignored. Without a tracer it is yielded itself.
        """
        parent = parent if parent and TRACEPARENT.fullmatch(parent) else None
        if self._tracer is None:
            yield parent
            return
        span = self._begin(name, parent, time.time_ns(), about)
        try:
            yield _traceparent(span)
        except BaseException as error:
            _mark_failed(span, error)
            raise
        finally:
            span.end()

    def note(
        self,
        name: str,
        parent: str | None,
        began: int,
        ended: int,
        error: BaseException | None = None,
        **about: str | int,
    ) -> None:
        """A past span: its begin and end in nanoseconds of unix time, and the error that it failed with."""
        if self._tracer is None:
            return
        span = self._begin(name, parent, began, about)
        if error is not None:
            _mark_failed(span, error)
        span.end(ended)

    def _begin(self, name: str, parent: str | None, began: int, about: dict[str, Any]) -> Any:
        from opentelemetry.context import Context  # noqa: PLC0415 - an extra
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        above = TraceContextTextMapPropagator().extract({HEADER: parent} if parent else {}, Context())
        attributes = {f"tintype.{key}": value for key, value in about.items()}
        assert self._tracer is not None  # noqa: S101 - for mypy: both callers have checked
        return self._tracer.start_span(name, above, attributes=attributes, start_time=began)


NO_TRACES = Tracing()


class LoggedExporter(logging.Handler):
    """An exporter whose failures are logged as an outage, with the first of its own log lines as the cause.

    Exporters of all packages log as `opentelemetry.exporter…`, a line for every failed try.
    """

    def __init__(self, exporter: Any, process: str) -> None:
        super().__init__()
        self._exporter = exporter
        #: Its first log line since the last export began.
        self._line = ""
        self._outage = Outage("traces can't be exported", "traces are exported again", service=f"tintype-{process}")
        self._library = logging.getLogger("opentelemetry.exporter")
        self._library.propagate = False
        self._library.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """A log line of the exporter."""
        self._line = self._line or record.getMessage()

    def export(self, spans: Any) -> Any:
        """As the exporter."""
        self._line = ""
        result = self._exporter.export(spans)
        if result.name == "SUCCESS":
            self._outage.succeeded()
        else:
            self._outage.failed(self._line or "no reason was given")
        return result

    def shutdown(self) -> None:
        """As the exporter; removes the log handler."""
        self._exporter.shutdown()
        self._library.removeHandler(self)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """As the exporter."""
        return bool(self._exporter.force_flush(timeout_millis))


def exporters() -> list[str]:
    """Names of the exporters that are installed here; none without the extra."""
    return sorted(found.name for found in entry_points(group=GROUP))


def open_tracing(exporter: str, process: str, instance: str = "") -> Tracing:
    """Tracing through the exporter of that name, one of `exporters()`; with an empty name, none.

    instance: distinguishes this process from others of its kind. OpenTelemetry's own variables configure the exporter
    and the sampling (OTEL_EXPORTER_OTLP_ENDPOINT and others).
    """
    if not exporter:
        return NO_TRACES
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    [found] = entry_points(group=GROUP, name=exporter)
    resource = {"service.name": f"tintype-{process}", "service.version": __version__}
    if instance:
        resource["service.instance.id"] = instance
    provider = TracerProvider(resource=Resource.create(resource))
    exporter_with_log: Any = LoggedExporter(found.load()(), process)
    provider.add_span_processor(BatchSpanProcessor(exporter_with_log))
    return Tracing(provider.get_tracer("tintype"), provider.shutdown)


def _traceparent(span: Any) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _mark_failed(span: Any, error: BaseException) -> None:
    """Mark the span as failed, by the error's class alone: a message may quote what was sent."""
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - an extra

    span.set_status(Status(StatusCode.ERROR))
    span.set_attribute("error.type", type(error).__name__)
