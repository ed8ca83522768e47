"""What a worker tells of itself at a heartbeat."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from tintype.engine import Engine
from tintype.telemetry.metrics import TRANSACTION_SECONDS, TRANSACTIONS, Transactions
from tintype.worker.heartbeat import Reporter
from tintype.worker.loop import Worker


def test_transactions_are_told_when_there_is_work_to_tell_of() -> None:
    """Each heartbeat is one: an idle worker would otherwise add to everybody's sums at each."""
    engine, times = Engine(16), Transactions()
    reporter = Reporter(
        cast(Worker, SimpleNamespace(engine=engine, store=SimpleNamespace(db=SimpleNamespace(times=times))))
    )
    times.read.observe(2)
    times.connection.observe(1)
    reporter._measure()
    assert reporter._transactions == {}
    engine.forward_passes += 1
    reporter._measure()
    told = {TRANSACTIONS.key(): 1, TRANSACTION_SECONDS.key("wait"): 1, TRANSACTION_SECONDS.key("transaction"): 2}
    assert reporter._transactions == told
    times.read.observe(2)
    reporter._measure()
    assert reporter._transactions == told
