"""What `/metrics` tells: every name, and how figures become Prometheus' text.

Sums are kept in the database, whoever counts, so that restarts lose nothing and every web process tells the same. Only
refusals are each web process's own: they are many exactly when nothing should be written for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tintype.errors import TintypeError


@dataclass(frozen=True)
class Sum:
    """A sum in the database: its name there, its family's name and help here, and the labels that tell parts apart."""

    name: str
    family: str
    words: str
    labels: tuple[str, ...] = ()
    #: What is counted for one of the family's unit.
    per: float = 1

    def key(self, *labels: str) -> str:
        """What the part with these labels is kept under; a label has no slash in it."""
        return "/".join((self.name, *labels))


ENDED = Sum("ended", "tintype_requests", "Requests that ended, test keys' left out.", ("model", "outcome"))
FORWARD_PASSES = Sum("forward_passes", "tintype_forward_passes", "Forward passes of all workers.")
ROWS = Sum("rows", "tintype_batch_rows", "Rows in those passes: pictures, twice with guidance.")
ROOM = Sum("room", "tintype_batch_room", "Rows that would have fitted into them.")
STEP_SECONDS = Sum("step_seconds", "tintype_step_seconds", "Seconds of those passes and what samplers made of them.")
COLD_STARTS = Sum("cold_starts", "tintype_cold_starts", "Loads of weights.")
COLD_SECONDS = Sum("cold_seconds", "tintype_cold_start_seconds", "Seconds of those loads.")
STAGE_RUNS = Sum("stage_runs", "tintype_stage_runs", "How often a stage was gone through.", ("model", "stage"))
STAGE_SECONDS = Sum("stage_seconds", "tintype_stage_seconds", "Seconds spent in a stage.", ("model", "stage"))
PROMPT_CACHE = Sum("prompt_cache", "tintype_prompt_cache", "Prompts that were to be encoded.", ("result",))
CHARGES = Sum("charges", "tintype_charges", "Requests that were charged.", ("model",))
CHARGED = Sum("charged", "tintype_charged_dollars", "What they were charged.", ("model",), per=1_000_000)
MISSED = Sum("missed", "tintype_missed_charges", "Completed requests with a price that the ledger lacks: a mistake.")
SUMS = (
    *(ENDED, FORWARD_PASSES, ROWS, ROOM, STEP_SECONDS, COLD_STARTS, COLD_SECONDS),
    *(STAGE_RUNS, STAGE_SECONDS, PROMPT_CACHE, CHARGES, CHARGED, MISSED),
)


class Stage(StrEnum):
    """What a request goes through; docs/operations.md says what belongs to each."""

    QUEUE = "queue"
    FETCH = "fetch"
    LOAD = "load"
    ENCODE = "encode"
    DENOISE = "denoise"
    DECODE = "decode"
    DELIVER = "deliver"


@dataclass(frozen=True)
class Figures:
    """How the server stands at one moment, as the database knows it."""

    #: By `Sum.key`.
    sums: Mapping[str, float]
    #: By model: requests that wait, seconds that the oldest of them has waited, and requests that run.
    waiting: Mapping[str, int]
    oldest: Mapping[str, float]
    running: Mapping[str, int]
    paused: bool
    #: By state.
    workers: Mapping[str, int]
    #: How many a Ray fleet wants; None where none is kept.
    wanted: int | None = None
    #: Bytes by worker and kind.
    memory: Mapping[tuple[str, str], int] = field(default_factory=dict)


class Metrics:
    """What one web process answers at `/metrics`; `read` finds the figures, anew for every answer."""

    def __init__(self, read: Callable[[], Figures]) -> None:
        self._registry = CollectorRegistry()
        self._refusals = Counter(
            "tintype_refusals", "Calls that this process answered with an error.", ["reason"], registry=self._registry
        )
        ProcessCollector(registry=self._registry)
        self._registry.register(_Stored(read))

    def refused(self, error: TintypeError) -> None:
        """Count a call that was answered with this error, under the name of its class."""
        self._refusals.labels(type(error).__name__).inc()

    def render(self, accept: str) -> tuple[bytes, str]:
        """The text and its content type, OpenMetrics for who accepts that; raises what `read` does."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class _Stored(Collector):
    def __init__(self, read: Callable[[], Figures]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """The families of what the database knows."""
        figures = self._read()
        yield from _gauges(figures)
        for one in SUMS:
            yield _counted(one, figures.sums)


def _gauges(figures: Figures) -> Iterator[Metric]:
    by_model = ["model"]
    yield _gauge("tintype_queue_length", "Requests that wait.", by_model, _single(figures.waiting))
    yield _gauge("tintype_queue_age_seconds", "How long the oldest has waited.", by_model, _single(figures.oldest))
    yield _gauge("tintype_requests_running", "Requests that run.", by_model, _single(figures.running))
    yield _gauge("tintype_queue_paused", "1 while the queue is paused.", [], {(): float(figures.paused)})
    yield _gauge("tintype_workers", "Workers that are known.", ["state"], _single(figures.workers))
    wanted: dict[tuple[str, ...], float] = {} if figures.wanted is None else {(): float(figures.wanted)}
    yield _gauge("tintype_workers_wanted", "Workers that a Ray fleet wants; none where none is kept.", [], wanted)
    yield _gauge(
        "tintype_worker_memory_bytes", "Memory of live workers.", ["worker", "kind"], dict(figures.memory.items())
    )


def _single(values: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(label,): value for label, value in values.items()}


def _gauge(name: str, words: str, labels: list[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, words, labels=labels)
    for own, value in values.items():
        family.add_metric(own, value)
    return family


def _counted(one: Sum, sums: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(one.family, one.words, labels=one.labels)
    parts = {key: value for key, value in sums.items() if key.partition("/")[0] == one.name}
    for key, value in parts.items() if one.labels else [(one.name, sums.get(one.name, 0))]:
        family.add_metric(key.split("/")[1:], value / one.per)
    return family
