"""Measurements that are written with what they measure: counters for `/metrics`, the time series' buckets, speeds.

An end writes one row, into the journal; `fold` adds many of them to the sums in one transaction, and who reads a sum
adds those that are not folded yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from statistics import fmean
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from tintype.core import Size
from tintype.store.db.records import Request
from tintype.store.db.statements import Statement
from tintype.store.db.tables import counters, journal, outputs, paces, samples
from tintype.telemetry.metrics import CHARGED, CHARGES, ENDED

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
        tx.execute(_add(tx.dialect.name), rows)


def add_to_bucket(tx: Connection, moment: float, amounts: Mapping[str, float]) -> None:
    """Add to the sums of the time series' bucket that has this moment."""
    tx.execute(_add_to_bucket(tx.dialect.name, (*amounts,)), {"at": bucket(moment), **amounts})


def bucket(moment: float) -> int:
    """The first second of the bucket that has this moment."""
    return int(moment) // BUCKET * BUCKET


@lru_cache
def _add(dialect: str) -> Any:
    fresh = INSERT[dialect](counters)
    more = {"value": counters.c.value + fresh.excluded.value}
    return fresh.on_conflict_do_update(index_elements=[counters.c.key], set_=more)


@lru_cache
def _add_to_bucket(dialect: str, names: tuple[str, ...]) -> Any:
    fresh = INSERT[dialect](samples)
    more = {name: samples.c[name] + fresh.excluded[name] for name in names}
    return fresh.on_conflict_do_update(index_elements=[samples.c.at], set_=more)


# The journal

#: Without the id that the row is given.
NOTE = Statement(insert(journal).inline())
#: Without the images' sizes, which only `fold` reads of all.
UNFOLDED = select(*(column for column in journal.c if column is not journal.c.outputs))
TAKE = delete(journal).returning(journal)
OUTPUTS_UNFOLDED = select(journal.c.outputs).where(journal.c.outputs.is_not(None))
OF_SPEEDS = select(paces).where(paces.c.pace.in_(bindparam("keys", expanding=True)))
ALL_SPEEDS = select(paces.c.pace, paces.c.seconds)


def note_end(tx: Connection, request: Request, image_ttl: float) -> None:
    """Note what a request that has just ended adds to the sums; a test is not counted.

    If it COMPLETED, its time is blended into its speed, and its images' sizes are known: for its record's time, or for
    `image_ttl` seconds if that is longer.
    """
    result, price = request.result, request.billing.price
    seconds = 0.0 if result is None else result.inference_time / max(1, request.steps)
    learnt = request.speed_key is not None and seconds > 0
    timing = request.timing
    expires_at = max(timing.expires_at or 0.0, (timing.ended_at or 0.0) + image_ttl)
    made = () if result is None else result.outputs
    sizes = [{"name": one.name, "width": one.width, "height": one.height} for one in made if one.width]
    if request.test and not learnt and not sizes:
        return
    row = {
        "at": timing.ended_at,
        "slug": request.slug,
        "outcome": None if request.test else request.outcome,
        "charged": request.billing.cost if price else None,
        "speed_key": request.speed_key if learnt else None,
        "step_seconds": seconds if learnt else None,
        "outputs": [size | {"expires_at": expires_at} for size in sizes] or None,
        "request_id": request.id if sizes else None,
    }
    NOTE.later(tx, row)


class Ends:
    """Rows of the journal in the order of the ends: what they add to each sum."""

    def __init__(self, rows: Iterable[Row[Any]]) -> None:
        self.rows = sorted(rows, key=lambda row: int(row.id))

    @classmethod
    def unfolded(cls, view: Connection) -> Ends:
        """Those that no sum has yet; most often, those of the last second."""
        return cls(view.execute(UNFOLDED))

    @property
    def counters(self) -> Counter[str]:
        """By the counters' keys."""
        sums: Counter[str] = Counter()
        for row in self.rows:
            if row.outcome is not None:
                sums[ENDED.key(row.slug, row.outcome)] += 1
            if row.charged is not None:
                sums[CHARGES.key(row.slug)] += 1
                sums[CHARGED.key(row.slug)] += row.charged
        return sums

    @property
    def buckets(self) -> dict[int, Counter[str]]:
        """The number of ends by outcome, by the first second of their bucket."""
        sums: dict[int, Counter[str]] = {}
        for row in self.rows:
            if row.outcome is not None:
                sums.setdefault(bucket(row.at), Counter())[row.outcome] += 1
        return sums

    @property
    def measured(self) -> Counter[str]:
        """How many measured each speed, by its key."""
        return Counter(row.speed_key for row in self.rows if row.speed_key is not None)

    def blended(self, before: Mapping[str, float]) -> dict[str, float]:
        """Seconds per step by speed key, from those before these ends."""
        speeds = dict(before)
        for row in self.rows:
            if row.speed_key is not None:
                known = speeds.setdefault(row.speed_key, row.step_seconds)
                speeds[row.speed_key] = known + LATEST * (row.step_seconds - known)
        return speeds

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """Rows of `outputs`."""
        return [size | {"request_id": row.request_id} for row in self.rows for size in row.outputs or ()]


def fold(tx: Connection) -> None:
    """Add what the journal has to the sums, and empty it."""
    ends = Ends(tx.execute(TAKE))
    # In the order in which heartbeats, which aren't under the lock, change the same tables.
    for at, amounts in sorted(ends.buckets.items()):
        add_to_bucket(tx, at, amounts)
    add(tx, ends.counters)
    if measured := ends.measured:
        before = {row.pace: row.seconds for row in tx.execute(OF_SPEEDS, {"keys": [*measured]})}
        speeds = ends.blended(before)
        rows = [{"pace": key, "seconds": speeds[key], "measured": number} for key, number in sorted(measured.items())]
        tx.execute(_measure(tx.dialect.name), rows)
    if sizes := ends.outputs:
        tx.execute(_note_sizes(tx.dialect.name), sizes)


@lru_cache
def _measure(dialect: str) -> Any:
    fresh = INSERT[dialect](paces)
    more = {"seconds": fresh.excluded.seconds, "measured": paces.c.measured + fresh.excluded.measured}
    return fresh.on_conflict_do_update(index_elements=[paces.c.pace], set_=more)


@lru_cache
def _note_sizes(dialect: str) -> Any:
    return INSERT[dialect](outputs).on_conflict_do_nothing()


def unfolded_size(view: Connection, name: str) -> Size | None:
    """Width and height in pixels of an image that was finished so lately that `outputs` doesn't have it."""
    made: Iterable[Sequence[Mapping[str, Any]]] = view.scalars(OUTPUTS_UNFOLDED)
    return next(((one["width"], one["height"]) for sizes in made for one in sizes if one["name"] == name), None)


class Speeds:
    """Seconds per step, by speed key; one that was not measured is taken to be like its model's others."""

    def __init__(self, measured: Mapping[str, float]) -> None:
        self._measured = measured

    @classmethod
    def of(cls, view: Connection) -> Speeds:
        """All that was measured: a few rows per model."""
        folded = {row.pace: row.seconds for row in view.execute(ALL_SPEEDS)}
        return cls(Ends.unfolded(view).blended(folded))

    def step(self, speed_key: str | None) -> float | None:
        """Seconds of one step; None when the model was never measured."""
        if speed_key is None:
            return None
        if (known := self._measured.get(speed_key)) is not None:
            return known
        alike = self.of_model(speed_key.split()[0]).values()
        return fmean(alike) if alike else None

    def of_model(self, slug: str) -> dict[str, float]:
        """What was measured of one model, by speed key without the slug."""
        own = f"{slug} "
        return {key.removeprefix(own): known for key, known in self._measured.items() if key.startswith(own)}
