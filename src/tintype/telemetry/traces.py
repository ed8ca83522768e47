"""Traces in OpenTelemetry's terms, where the operator wants them; else only the `traceparent` that came is kept.

A request outlives the call that sends it, and its stages run in other processes: what ties them together is the text of
W3C's header `traceparent` (https://www.w3.org/TR/trace-context/), which lies in the request's row. Spans never have
prompts, keys or messages of errors in them.
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
#: Version 00; ids of zeros only are invalid.
FORM = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
#: Where packages register exporters, the SDK's own `console` among them.
GROUP = "opentelemetry_traces_exporter"


class Tracing:
    """Makes spans that begin and end here, below whatever a `traceparent` names; without a tracer, none."""

    def __init__(self, tracer: Tracer | None = None, close: Callable[[], None] = lambda: None) -> None:
        self._tracer = tracer
        #: Sends what has not been sent yet.
        self.close = close

    @contextmanager
    def span(self, name: str, parent: str | None, **about: str | int) -> Iterator[str | None]:
        """A span around the block; yields the `traceparent` for what the block causes.

        parent: a `traceparent` from anywhere; one that isn't of the standard's form is ignored. Without a tracer it is
        what is yielded.
        """
        parent = parent if parent and FORM.fullmatch(parent) else None
        if self._tracer is None:
            yield parent
            return
        span = self._begin(name, parent, time.time_ns(), about)
        try:
            yield _traceparent(span)
        except BaseException as error:
            _blame(span, error)
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
        """A span that is over: when it began and ended, in nanoseconds of unix time, and what it failed with."""
        if self._tracer is None:
            return
        span = self._begin(name, parent, began, about)
        if error is not None:
            _blame(span, error)
        span.end(ended)

    def _begin(self, name: str, parent: str | None, began: int, about: dict[str, Any]) -> Any:
        from opentelemetry.context import Context  # noqa: PLC0415 - an extra
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        above = TraceContextTextMapPropagator().extract({HEADER: parent} if parent else {}, Context())
        attributes = {f"tintype.{key}": value for key, value in about.items()}
        assert self._tracer is not None  # noqa: S101 - for mypy: both callers have looked
        return self._tracer.start_span(name, above, attributes=attributes, start_time=began)


NO_TRACES = Tracing()


class Watched(logging.Handler):
    """An exporter whose failures are told as any state that lasts; what it logs itself, at every try, is only heard.

    It logs as `opentelemetry.exporter…`, whichever package it is of.
    """

    def __init__(self, exporter: Any, process: str) -> None:
        super().__init__()
        self._exporter = exporter
        #: The first that it logged since the last export began.
        self._said = ""
        self._outage = Outage("traces can't be exported", "traces are exported again", service=f"tintype-{process}")
        self._library = logging.getLogger("opentelemetry.exporter")
        self._library.propagate = False
        self._library.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """What the exporter logs."""
        self._said = self._said or record.getMessage()

    def export(self, spans: Any) -> Any:
        """As the exporter does it."""
        self._said = ""
        result = self._exporter.export(spans)
        if result.name == "SUCCESS":
            self._outage.succeeded()
        else:
            self._outage.failed(self._said or "no reason was given")
        return result

    def shutdown(self) -> None:
        """As the exporter does it; it is heard no more."""
        self._exporter.shutdown()
        self._library.removeHandler(self)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """As the exporter does it."""
        return bool(self._exporter.force_flush(timeout_millis))


def exporters() -> list[str]:
    """Names of the exporters that are installed here; none without the extra."""
    return sorted(found.name for found in entry_points(group=GROUP))


def open_tracing(exporter: str, process: str, instance: str = "") -> Tracing:
    """Tracing through the exporter of that name, one of `exporters()`; with an empty name, none.

    instance: what tells this process from others of its kind.

    Where it sends to, and which traces, OpenTelemetry's own variables say (OTEL_EXPORTER_OTLP_ENDPOINT and others).
    """
    if not exporter:
        return NO_TRACES
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    [found] = entry_points(group=GROUP, name=exporter)
    own = {"service.name": f"tintype-{process}", "service.version": __version__}
    if instance:
        own["service.instance.id"] = instance
    provider = TracerProvider(resource=Resource.create(own))
    exporter_itself: Any = Watched(found.load()(), process)
    provider.add_span_processor(BatchSpanProcessor(exporter_itself))
    return Tracing(provider.get_tracer("tintype"), provider.shutdown)


def _traceparent(span: Any) -> str:
    own = span.get_span_context()
    return f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}"


def _blame(span: Any, error: BaseException) -> None:
    """Mark the span as failed, by the error's class alone: a message may quote what was sent."""
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - an extra

    span.set_status(Status(StatusCode.ERROR))
    span.set_attribute("error.type", type(error).__name__)
