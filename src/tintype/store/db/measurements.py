"""Measurements that are written with what they measure: counters for `/metrics`, the time series' buckets, speeds."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tintype.store.db.records import Request
from tintype.store.db.tables import counters, paces, samples
from tintype.telemetry.metrics import ENDED

INSERT: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
#: Seconds of one bucket.
BUCKET = 10
#: Weight of the latest request: high enough to follow a new machine, low enough that one slow request matters little.
LATEST = 0.2


def add(tx: Connection, amounts: Mapping[str, float]) -> None:
    """Add to counters by their keys, as `telemetry.metrics.Sum.key` makes them."""
    # Sorted: heartbeats aren't under the lock, and those that locked rows in different orders would deadlock.
    rows = [{"key": key, "value": amount} for key, amount in sorted(amounts.items()) if amount]
    if rows:
        fresh = INSERT[tx.dialect.name](counters)
        more = {"value": counters.c.value + fresh.excluded.value}
        # Rows next to the statement: with the rows in it, it would be compiled each time.
        tx.execute(fresh.on_conflict_do_update(index_elements=[counters.c.key], set_=more), rows)


def add_to_bucket(tx: Connection, moment: float, **amounts: float) -> None:
    """Add to the sums of the time series' bucket that has this moment."""
    fresh = INSERT[tx.dialect.name](samples).values(at=int(moment) // BUCKET * BUCKET, **amounts)
    more = {name: samples.c[name] + amount for name, amount in amounts.items()}
    tx.execute(fresh.on_conflict_do_update(index_elements=[samples.c.at], set_=more))


def note_end(tx: Connection, request: Request, moment: float) -> None:
    """Count a request that has just ended, unless it was a test; if it COMPLETED, blend its time into its speed."""
    if not request.test:
        add_to_bucket(tx, moment, **{request.outcome: 1})
        add(tx, {ENDED.key(request.slug, request.outcome): 1})
    seconds = 0.0 if request.result is None else request.result.inference_time / max(1, request.steps)
    if request.speed_key is None or seconds <= 0:
        return
    blended = paces.c.seconds + LATEST * (seconds - paces.c.seconds)
    known = update(paces).where(paces.c.pace == request.speed_key)
    if tx.execute(known.values(seconds=blended, measured=paces.c.measured + 1)).rowcount == 0:
        tx.execute(insert(paces).values(pace=request.speed_key, seconds=seconds, measured=1))


class Speeds:
    """Seconds per step, by speed key; one that was not measured is taken to be like its model's others."""

    def __init__(self, measured: Mapping[str, float]) -> None:
        self._measured = measured

    @classmethod
    def of(cls, view: Connection) -> Speeds:
        """All that was measured: a few rows per model."""
        return cls({row.pace: row.seconds for row in view.execute(select(paces))})

    def step(self, speed_key: str | None) -> float | None:
        """Seconds of one step; None when the model was never measured."""
        if speed_key is None:
            return None
        slug = speed_key.split()[0]
        alike = [seconds for name, seconds in self._measured.items() if name.split()[0] == slug]
        return self._measured.get(speed_key, fmean(alike) if alike else None)
