"""Counters that only ever grow, for `/metrics`, and the time series' buckets: both written with what they count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from tintype.store.db.records import Request
from tintype.store.db.tables import counters, samples
from tintype.telemetry.metrics import ENDED

INSERT: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
#: Seconds of one bucket.
BUCKET = 10


def add(tx: Connection, amounts: Mapping[str, float]) -> None:
    """Add to counters by their keys, as `telemetry.metrics.Sum.key` makes them."""
    # Sorted: heartbeats aren't under the lock, and those that locked rows in different orders would deadlock.
    rows = [{"key": key, "value": amount} for key, amount in sorted(amounts.items()) if amount]
    if rows:
        fresh = INSERT[tx.dialect.name](counters)
        more = {"value": counters.c.value + fresh.excluded.value}
        # Rows next to the statement: with the rows in it, it would be compiled anew each time.
        tx.execute(fresh.on_conflict_do_update(index_elements=[counters.c.key], set_=more), rows)


def add_to_bucket(tx: Connection, moment: float, **amounts: float) -> None:
    """Add to the sums of the time series' bucket that has this moment."""
    put_bucket(tx, moment, amounts, {name: samples.c[name] + amount for name, amount in amounts.items()})


def put_bucket(tx: Connection, moment: float, fresh: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
    """Write the bucket that has this moment: `fresh` where there is none yet, else `changed`."""
    row = INSERT[tx.dialect.name](samples).values(at=bucket_of(moment), **fresh)
    tx.execute(row.on_conflict_do_update(index_elements=[samples.c.at], set_=changed))


def bucket_of(moment: float) -> int:
    """The first second of the bucket that has this moment."""
    return int(moment) // BUCKET * BUCKET


def count_end(tx: Connection, request: Request, moment: float) -> None:
    """Count a request that has just ended, unless it was a test."""
    if not request.test:
        add_to_bucket(tx, moment, **{request.outcome: 1})
        add(tx, {ENDED.key(request.slug, request.outcome): 1})
