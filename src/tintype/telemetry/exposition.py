"""`/metrics`: a snapshot of the database's metrics and this process's own, in Prometheus' text format."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry, Info, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tintype import __version__
from tintype.errors import StoreUnavailable
from tintype.telemetry.metrics import SUMS, Calls, Sum


@dataclass(frozen=True)
class MetricsSnapshot:
    """The server's metrics at one moment, from the database."""

    #: By `Sum.key`.
    sums: Mapping[str, float]
    #: By model: queued requests, seconds that the oldest of them has waited, and running requests.
    waiting: Mapping[str, int]
    oldest: Mapping[str, float]
    running: Mapping[str, int]
    paused: bool
    #: By state.
    workers: Mapping[str, int]
    #: How many workers a Ray fleet wants; None without one.
    wanted: int | None = None
    #: Live workers by version.
    versions: Mapping[str, int] = field(default_factory=dict)
    #: Bytes by machine, device and kind, of all live workers there.
    memory: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    #: Webhook deliveries that are due, and seconds for which the first of them has been.
    messages: int = 0
    lateness: float = 0.0


class Metrics:
    """Renders `/metrics` of one web process; `read` queries the database, for every scrape.

    collectors: of this process, in addition to its calls. about: build labels in addition to version and Python.
    data: a folder of the disk that it writes to.
    """

    def __init__(
        self,
        read: Callable[[], MetricsSnapshot],
        collectors: Iterable[Collector] = (),
        about: Mapping[str, str] | None = None,
        data: Path = Path(),
    ) -> None:
        self._registry = CollectorRegistry()
        self.calls = Calls()
        for one in (self.calls, *collectors, _Disk(data), _Stored(read)):
            self._registry.register(one)
        ProcessCollector(registry=self._registry)
        build = Info("tintype_build", "What this process is made of.", registry=self._registry)
        build.info({"version": __version__, "python": platform.python_version(), **(about or {})})

    def render(self, accept: str) -> tuple[bytes, str]:
        """The text, as OpenMetrics if accepted, and its content type; without sums while the database is away."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class _Disk(Collector):
    def __init__(self, data: Path) -> None:
        self._data = data

    def collect(self) -> Iterator[Metric]:
        """The disk's size and free space."""
        folders = (self._data, *self._data.absolute().parents)  # the first may be missing, with PostgreSQL and a bucket
        usage = shutil.disk_usage(next(folder for folder in folders if folder.exists()))
        kinds: dict[tuple[str, ...], float] = {("size",): usage.total, ("free",): usage.free}
        yield _gauge("tintype_disk_bytes", "Disk of this process's data folder.", ["kind"], kinds)


class _Stored(Collector):
    def __init__(self, read: Callable[[], MetricsSnapshot]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """The database's families; while it is away, only the one that says so."""
        try:
            snapshot = self._read()
        except StoreUnavailable:
            yield _database(up=False)
            return
        yield _database(up=True)
        yield from _gauges(snapshot)
        for one in SUMS:
            yield _counted(one, snapshot)


def _database(*, up: bool) -> Metric:
    words = "Whether this process could read its figures in the database."
    return _gauge("tintype_database_up", words, [], {(): float(up)})


def _gauges(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    by_model = ["model"]
    yield _gauge("tintype_queue_length", "Requests that wait.", by_model, _single(snapshot.waiting))
    yield _gauge("tintype_queue_age_seconds", "How long the oldest has waited.", by_model, _single(snapshot.oldest))
    yield _gauge("tintype_requests_running", "Requests that run.", by_model, _single(snapshot.running))
    yield _gauge("tintype_queue_paused", "1 while the queue is paused.", [], {(): float(snapshot.paused)})
    yield _gauge("tintype_workers", "Workers that are known.", ["state"], _single(snapshot.workers))
    wanted: dict[tuple[str, ...], float] = {} if snapshot.wanted is None else {(): float(snapshot.wanted)}
    yield _gauge("tintype_workers_wanted", "Workers that a Ray fleet wants; none where none is kept.", [], wanted)
    yield _gauge("tintype_worker_versions", "Live workers by version.", ["version"], _single(snapshot.versions))
    by_device = ["host", "device", "kind"]
    yield _gauge("tintype_worker_memory_bytes", "Memory of live workers.", by_device, dict(snapshot.memory.items()))
    yield _gauge("tintype_webhook_messages", "Messages that are due.", [], {(): float(snapshot.messages)})
    words = "How long the first of them has been due."
    yield _gauge("tintype_webhook_lateness_seconds", words, [], {(): snapshot.lateness})


def _single(values: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(label,): value for label, value in values.items()}


def _gauge(name: str, words: str, labels: list[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, words, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family


def _counted(one: Sum, snapshot: MetricsSnapshot) -> Metric:
    family = CounterMetricFamily(one.family, one.help, labels=one.labels)
    counted = {key: value for key, value in snapshot.sums.items() if key.partition("/")[0] == one.name}
    for key, value in (dict.fromkeys(one.keys(snapshot.waiting), 0.0) | counted).items():
        family.add_metric(key.split("/")[1:], value / one.per)
    return family
