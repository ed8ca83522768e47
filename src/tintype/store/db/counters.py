"""Sums that only ever grow, for `/metrics`: added to in the transaction of what they count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from tintype.store.db.tables import counters

INSERT: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def add(tx: Connection, amounts: Mapping[str, float]) -> None:
    """Add to sums by their keys, as `telemetry.metrics.Sum.key` makes them."""
    # Sorted: heartbeats aren't under the lock, and those that locked rows in different orders would wait in a circle.
    rows = [{"key": key, "value": amount} for key, amount in sorted(amounts.items()) if amount]
    if rows:
        fresh = INSERT[tx.dialect.name](counters)
        more = {"value": counters.c.value + fresh.excluded.value}
        # Rows beside the statement: with the rows in it, it would be compiled anew each time.
        tx.execute(fresh.on_conflict_do_update(index_elements=[counters.c.key], set_=more), rows)
