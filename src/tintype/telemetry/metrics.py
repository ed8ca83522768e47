"""Metrics that are counted: sums in the database, and a process's own calls and transactions.

Sums are stored in the database, so that restarts lose nothing and every web process exposes the same. Only calls and
the times of transactions are each process's own: they are many exactly when nothing should be written for them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import product

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tintype import errors
from tintype.errors import Forbidden, TintypeError, Unauthorized

#: Seconds of a call: from a constant answer to a blocking call that waits for its image.
CALL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
#: Seconds of a transaction: from a read of SQLite to a timeout.
TRANSACTION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
#: Methods with labels of their own; callers may invent others.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"


class Stage(StrEnum):
    """Stages of a request, in order; docs/operations.md says what each includes."""

    QUEUE = "queue"
    FETCH = "fetch"
    LOAD = "load"
    ENCODE = "encode"
    DENOISE = "denoise"
    DECODE = "decode"
    DELIVER = "deliver"


@dataclass(frozen=True)
class Sum:
    """A sum in the database: its name there, its Prometheus family's name and help, and its labels."""

    name: str
    family: str
    help: str
    labels: tuple[str, ...] = ()
    #: Values of the label other than the model: each is exposed from the start, at 0.
    known: tuple[str, ...] = ()
    #: Counted units per unit of the family.
    per: float = 1

    def key(self, *labels: str) -> str:
        """The database's key of the series with these labels; a label has no slash in it."""
        return "/".join((self.name, *labels))

    def keys(self, models: Iterable[str]) -> Iterator[str]:
        """The keys of all known series, whether or not anything was counted."""
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
#: Unstamped: without the time stamp that the operator wants; unsigned and failed: the signer is broken.
MARKED = ("signed", "unstamped", "unsigned", "failed")
MARKS = Sum("marks", "tintype_marks", "Finished images by the signature that they got.", ("result",), MARKED)
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
    *(STAGE_RUNS, STAGE_SECONDS, PROMPT_CACHE, MARKS, TRANSACTIONS, TRANSACTION_SECONDS),
    *(CHARGES, CHARGED, MISSED),
)


class Calls(Collector):
    """Counts the calls that a web process answers, from its start on; safe to share between threads.

    Plain prometheus_client: prometheus-fastapi-instrumentator looks up each call's route a second time, which takes
    longer than some answers; it takes any method for a label, and sees neither callers who hang up nor what is refused
    before there is a call. starlette_exporter has its metrics in prometheus_client's global registry.
    """

    def __init__(self) -> None:
        self._answers = Counter(
            "tintype_http_answers", "Answers of this process.", ["route", "method", "status"], registry=None
        )
        self._seconds = Histogram(
            "tintype_http_seconds",
            "Seconds until an answer began, without those in which the caller's body was waited for.",
            ["route", "method"],
            registry=None,
            buckets=CALL_SECONDS,
        )
        # To find a series by its labels takes ten times as long as to find it in a cache.
        self._answer, self._time = cache(self._answers.labels), cache(self._seconds.labels)
        #: Calls under way, blocking ones and streams included.
        self.open = Gauge("tintype_http_open", "Calls that this process has under way.", registry=None)
        self._refusals = Counter(
            "tintype_refusals", "Calls that this process answered with an error.", ["reason"], registry=None
        )
        self._denied = Counter(
            "tintype_denied", "Calls that this process answered with 401 or 403.", ["status", "reason"], registry=None
        )
        self._queued = Counter(
            "tintype_queued_requests",
            "Requests that this process queued, test keys' too, by the public API that they came by.",
            ["dialect"],
            registry=None,
        )
        # Exposed from the start, each at 0: the rate of a series that begins at 1 misses its first increment.
        for kind in vars(errors).values():
            if isinstance(kind, type) and issubclass(kind, TintypeError):
                self._refusals.labels(kind.__name__)
        for denial in (Unauthorized, Forbidden):
            for reason in denial.REASONS:
                self._denied.labels(denial.status, reason)

    def answered(self, route: str, method: str, status: int, seconds: float | None = None) -> None:
        """Count an answer, and the seconds until it began. `route` is a template, so that there are few."""
        known = method if method in METHODS else OTHER
        self._answer(route, known, status).inc()
        if seconds is not None:
            self._time(route, known).observe(seconds)

    def expect(self, dialects: Iterable[str]) -> None:
        """Expose the count of each dialect's requests from the start, for the same reason."""
        for name in dialects:
            self._queued.labels(name)

    def queued(self, dialect: str) -> None:
        """Count a new request."""
        self._queued.labels(dialect).inc()

    def refused(self, error: TintypeError) -> None:
        """Count a call that was answered with this error, by the name of its class."""
        self._refusals.labels(type(error).__name__).inc()
        if isinstance(error, Unauthorized | Forbidden):
            self._denied.labels(error.status, error.reason).inc()

    def collect(self) -> Iterator[Metric]:
        """All families."""
        for one in (self._answers, self._seconds, self.open, self._queued, self._refusals, self._denied):
            yield from one.collect()


class Transactions(Collector):
    """How long the transactions of one database in one process wait and take; both add up to the caller's wait.

    Each attribute is a histogram of seconds, whose `time()` observes a block however it ends. Safe to share between
    threads.
    """

    def __init__(self) -> None:
        waits = Histogram(
            "tintype_database_wait_seconds",
            "What a transaction of this process waited for before it began.",
            ["wait"],
            registry=None,
            buckets=TRANSACTION_BUCKETS,
        )
        #: For other writers of this process; for a connection; for the database's lock.
        self.turn, self.connection, self.lock = map(waits.labels, ("turn", "connection", "lock"))
        transactions = Histogram(
            "tintype_database_transaction_seconds",
            "How long a transaction of this process took, from its beginning to its commit.",
            ["kind"],
            registry=None,
            buckets=TRANSACTION_BUCKETS,
        )
        self.read, self.write, self.note = map(transactions.labels, ("read", "write", "note"))
        self._all = (waits, transactions)

    def sums(self) -> tuple[float, float, float]:
        """The number of transactions, and the total seconds that they waited, and took."""
        totals: dict[str, float] = defaultdict(float)
        for family in self._all:
            for metric in family.collect():
                for one in metric.samples:
                    totals[one.name] += one.value
        waits, transactions = "tintype_database_wait_seconds", "tintype_database_transaction_seconds"
        return totals[f"{transactions}_count"], totals[f"{waits}_sum"], totals[f"{transactions}_sum"]

    def collect(self) -> Iterator[Metric]:
        """Both families."""
        for one in self._all:
            yield from one.collect()
