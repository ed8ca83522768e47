"""How long the transactions of a process wait, and take: the database measures, `/metrics` shows."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

#: Seconds: from a look at SQLite to a patience that ran out.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Transactions(Collector):
    """Of one database's connections in one process. Waits and the transaction add up to what the caller waited for.

    Threads may share one: each attribute is a histogram of seconds, whose `time()` observes a block however it ends.
    """

    def __init__(self) -> None:
        waits = Histogram(
            "tintype_database_wait_seconds",
            "What a transaction of this process waited for before it began.",
            ["wait"],
            registry=None,
            buckets=BUCKETS,
        )
        #: For its turn among this process's own writers; for a connection; for the database's lock.
        self.turn, self.connection, self.lock = map(waits.labels, ("turn", "connection", "lock"))
        transactions = Histogram(
            "tintype_database_transaction_seconds",
            "How long a transaction of this process took, from its beginning to its commit.",
            ["kind"],
            registry=None,
            buckets=BUCKETS,
        )
        self.read, self.write, self.note = map(transactions.labels, ("read", "write", "note"))
        self._all = (waits, transactions)

    def sums(self) -> tuple[float, float, float]:
        """How many there were, and all the seconds that they waited, and took."""
        waits, transactions = self._all
        return _sum(transactions, "_count"), _sum(waits, "_sum"), _sum(transactions, "_sum")

    def collect(self) -> Iterator[Metric]:
        """Both families."""
        for one in self._all:
            yield from one.collect()


def _sum(family: Histogram, kind: str) -> float:
    return sum(one.value for metric in family.collect() for one in metric.samples if one.name.endswith(kind))
