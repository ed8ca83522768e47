"""What `/metrics` tells: every name, and how figures become Prometheus' text.

Sums are kept in the database, whoever counts, so that restarts lose nothing and every web process tells the same. Only
calls (calls.py) and the times of transactions (transactions.py) are each web process's own: they are many exactly when
nothing should be written for them.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from pathlib import Path

from prometheus_client import CollectorRegistry, Info, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tintype import __version__
from tintype.errors import StoreUnavailable
from tintype.telemetry.calls import Calls


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
class Sum:
    """A sum in the database: its name there, its family's name and help here, and the labels that tell parts apart."""

    name: str
    family: str
    words: str
    labels: tuple[str, ...] = ()
    #: Values of the label that isn't the model: each is told from the start, at 0.
    known: tuple[str, ...] = ()
    #: What is counted for one of the family's unit.
    per: float = 1

    def key(self, *labels: str) -> str:
        """What the part with these labels is kept under; a label has no slash in it."""
        return "/".join((self.name, *labels))

    def parts(self, models: Iterable[str]) -> Iterator[str]:
        """The keys of all parts that are known, whether or not anything was counted."""
        values = [models if label == "model" else self.known for label in self.labels]
        return (self.key(*labels) for labels in product(*values))


OUTCOMES = ("completed", "failed", "refused", "cancelled")

ENDED = Sum("ended", "tintype_requests", "Requests that ended, test keys' left out.", ("model", "outcome"), OUTCOMES)
FORWARD_PASSES = Sum("forward_passes", "tintype_forward_passes", "Forward passes of all workers.")
ROWS = Sum("rows", "tintype_batch_rows", "Rows in those passes: pictures, twice with guidance.")
ROOM = Sum("room", "tintype_batch_room", "Rows that would have fitted into them.")
STEP_SECONDS = Sum("step_seconds", "tintype_step_seconds", "Seconds of those passes and what samplers made of them.")
COLD_STARTS = Sum("cold_starts", "tintype_cold_starts", "Loads of weights.")
COLD_SECONDS = Sum("cold_seconds", "tintype_cold_start_seconds", "Seconds of those loads.")
STAGES = (("model", "stage"), tuple(Stage))
STAGE_RUNS = Sum("stage_runs", "tintype_stage_runs", "How often a stage was gone through.", *STAGES)
STAGE_SECONDS = Sum("stage_seconds", "tintype_stage_seconds", "Seconds spent in a stage.", *STAGES)
PROMPT_CACHE = Sum(
    "prompt_cache", "tintype_prompt_cache", "Prompts that were to be encoded.", ("result",), ("hit", "miss")
)
TRANSACTIONS = Sum("transactions", "tintype_worker_transactions", "Transactions of workers at work.")
TRANSACTION_SECONDS = Sum(
    "transaction_seconds",
    "tintype_worker_transaction_seconds",
    "Seconds of those transactions.",
    ("part",),
    ("wait", "transaction"),
)
CHARGES = Sum("charges", "tintype_charges", "Requests that were charged.", ("model",))
CHARGED = Sum("charged", "tintype_charged_dollars", "What they were charged.", ("model",), per=1_000_000)
MISSED = Sum("missed", "tintype_missed_charges", "Completed requests with a price that the ledger lacks: a mistake.")
SUMS = (
    *(ENDED, FORWARD_PASSES, ROWS, ROOM, STEP_SECONDS, COLD_STARTS, COLD_SECONDS),
    *(STAGE_RUNS, STAGE_SECONDS, PROMPT_CACHE, TRANSACTIONS, TRANSACTION_SECONDS, CHARGES, CHARGED, MISSED),
)


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
    #: Live workers by the version that they run.
    versions: Mapping[str, int] = field(default_factory=dict)
    #: Bytes by machine, device and kind, of all its live workers.
    memory: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    #: Messages of webhooks that are due, and seconds for which the first of them has been.
    messages: int = 0
    lateness: float = 0.0


class Metrics:
    """What one web process answers at `/metrics`; `read` finds the figures, anew for every answer.

    own: what it measures itself, beside its calls. about: what it is made of, beside version and Python. data: a folder
    of the disk that it writes to.
    """

    def __init__(
        self,
        read: Callable[[], Figures],
        own: Iterable[Collector] = (),
        about: Mapping[str, str] | None = None,
        data: Path = Path(),
    ) -> None:
        self._registry = CollectorRegistry()
        self.calls = Calls()
        for one in (self.calls, *own, _Disk(data), _Stored(read)):
            self._registry.register(one)
        ProcessCollector(registry=self._registry)
        build = Info("tintype_build", "What this process is made of.", registry=self._registry)
        build.info({"version": __version__, "python": platform.python_version(), **(about or {})})

    def render(self, accept: str) -> tuple[bytes, str]:
        """The text and its content type, OpenMetrics for who accepts that; while the database is away, without sums."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class _Disk(Collector):
    def __init__(self, data: Path) -> None:
        self._data = data

    def collect(self) -> Iterator[Metric]:
        """How large the disk is, and what of it is left."""
        folders = (self._data, *self._data.absolute().parents)  # with PostgreSQL and a bucket, nobody makes the first
        usage = shutil.disk_usage(next(folder for folder in folders if folder.exists()))
        kinds: dict[tuple[str, ...], float] = {("size",): usage.total, ("free",): usage.free}
        yield _gauge("tintype_disk_bytes", "Disk of this process's data folder.", ["kind"], kinds)


class _Stored(Collector):
    def __init__(self, read: Callable[[], Figures]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """The families of what the database knows; alone that it is away, if it is."""
        try:
            figures = self._read()
        except StoreUnavailable:
            yield _database(up=False)
            return
        yield _database(up=True)
        yield from _gauges(figures)
        for one in SUMS:
            yield _counted(one, figures)


def _database(*, up: bool) -> Metric:
    words = "Whether this process could read its figures in the database."
    return _gauge("tintype_database_up", words, [], {(): float(up)})


def _gauges(figures: Figures) -> Iterator[Metric]:
    by_model = ["model"]
    yield _gauge("tintype_queue_length", "Requests that wait.", by_model, _single(figures.waiting))
    yield _gauge("tintype_queue_age_seconds", "How long the oldest has waited.", by_model, _single(figures.oldest))
    yield _gauge("tintype_requests_running", "Requests that run.", by_model, _single(figures.running))
    yield _gauge("tintype_queue_paused", "1 while the queue is paused.", [], {(): float(figures.paused)})
    yield _gauge("tintype_workers", "Workers that are known.", ["state"], _single(figures.workers))
    wanted: dict[tuple[str, ...], float] = {} if figures.wanted is None else {(): float(figures.wanted)}
    yield _gauge("tintype_workers_wanted", "Workers that a Ray fleet wants; none where none is kept.", [], wanted)
    yield _gauge("tintype_worker_versions", "Live workers by version.", ["version"], _single(figures.versions))
    by_device = ["host", "device", "kind"]
    yield _gauge("tintype_worker_memory_bytes", "Memory of live workers.", by_device, dict(figures.memory.items()))
    yield _gauge("tintype_webhook_messages", "Messages that are due.", [], {(): float(figures.messages)})
    words = "How long the first of them has been due."
    yield _gauge("tintype_webhook_lateness_seconds", words, [], {(): figures.lateness})


def _single(values: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(label,): value for label, value in values.items()}


def _gauge(name: str, words: str, labels: list[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, words, labels=labels)
    for own, value in values.items():
        family.add_metric(own, value)
    return family


def _counted(one: Sum, figures: Figures) -> Metric:
    family = CounterMetricFamily(one.family, one.words, labels=one.labels)
    counted = {key: value for key, value in figures.sums.items() if key.partition("/")[0] == one.name}
    for key, value in (dict.fromkeys(one.parts(figures.waiting), 0.0) | counted).items():
        family.add_metric(key.split("/")[1:], value / one.per)
    return family
