"""What a worker tells of itself at a heartbeat."""

from __future__ import annotations

from typing import Any, cast

from tintype.engine import Engine
from tintype.telemetry.metrics import TRANSACTION_SECONDS, TRANSACTIONS
from tintype.telemetry.transactions import Transactions
from tintype.worker.heartbeat import Reporter
from tintype.worker.timings import Timings


def test_transactions_are_told_when_there_is_work_to_tell_of() -> None:
    """Each heartbeat is one: an idle worker would otherwise add to everybody's sums at each."""
    engine, times = Engine(16), Transactions()
    reporter = Reporter({}, engine, cast(Any, None), Timings("w"), cast(Any, None), times)
    times.read.observe(2)
    times.connection.observe(1)
    reporter._rates()
    assert reporter._told == {}
    engine.forward_passes += 1
    reporter._rates()
    told = {TRANSACTIONS.key(): 1, TRANSACTION_SECONDS.key("wait"): 1, TRANSACTION_SECONDS.key("transaction"): 2}
    assert reporter._told == told
    times.read.observe(2)
    reporter._rates()
    assert reporter._told == told
