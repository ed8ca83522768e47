"""What a web process counts of the calls that it answers; its own, from its start on.

Plain prometheus_client. prometheus-fastapi-instrumentator looks for each call's route a second time, which takes longer
than some answers; it takes any method that is sent for a label, and sees neither who hung up nor what is refused before
there is a call. starlette_exporter keeps its figures in prometheus_client's global registry.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tintype import errors
from tintype.errors import Forbidden, TintypeError, Unauthorized

#: Seconds: from a constant to a blocking call that waits for its picture.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
#: Methods by their own names; anybody may make up more.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"


class Calls(Collector):
    """Answers, how long they took to begin, and refusals; safe to share between threads."""

    def __init__(self) -> None:
        self._answers = Counter(
            "tintype_http_answers", "Answers of this process.", ["route", "method", "status"], registry=None
        )
        self._seconds = Histogram(
            "tintype_http_seconds",
            "Seconds until an answer began, without those in which the caller's body was waited for.",
            ["route", "method"],
            registry=None,
            buckets=BUCKETS,
        )
        #: Calls under way, those that wait and streams among them.
        self.open = Gauge("tintype_http_open", "Calls that this process has under way.", registry=None)
        self._refusals = Counter(
            "tintype_refusals", "Calls that this process answered with an error.", ["reason"], registry=None
        )
        self._denied = Counter(
            "tintype_denied", "Calls that this process answered with 401 or 403.", ["status", "reason"], registry=None
        )
        # Known from the start, each at 0: a rate can't tell of a series that begins at 1.
        for kind in vars(errors).values():
            if isinstance(kind, type) and issubclass(kind, TintypeError):
                self._refusals.labels(kind.__name__)
        for denial in (Unauthorized, Forbidden):
            for reason in denial.REASONS:
                self._denied.labels(denial.status, reason)

    def answered(self, route: str, method: str, status: int, seconds: float | None = None) -> None:
        """Count an answer, and how long it took to begin. `route` is one of a few, whatever was called."""
        known = method if method in METHODS else OTHER
        self._answers.labels(route, known, status).inc()
        if seconds is not None:
            self._seconds.labels(route, known).observe(seconds)

    def refused(self, error: TintypeError) -> None:
        """Count a call that was answered with this error, under the name of its class."""
        self._refusals.labels(type(error).__name__).inc()
        if isinstance(error, Unauthorized | Forbidden):
            self._denied.labels(error.status, error.reason).inc()

    def collect(self) -> Iterator[Metric]:
        """All families."""
        for one in (self._answers, self._seconds, self.open, self._refusals, self._denied):
            yield from one.collect()
