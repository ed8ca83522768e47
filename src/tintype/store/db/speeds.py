"""How long a step takes here, by speed key: learnt from requests that were COMPLETED."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from sqlalchemy import Connection, insert, select, update

from tintype.store.db.records import Request
from tintype.store.db.tables import paces

#: Weight of the latest request: high enough to follow a new machine, low enough that one slow request matters little.
LATEST = 0.2


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


def learn(tx: Connection, request: Request) -> None:
    """Blend the time of a request that has ended into its speed, if it was COMPLETED."""
    seconds = 0.0 if request.result is None else request.result.inference_time / max(1, request.steps)
    if request.speed_key is None or seconds <= 0:
        return
    blended = paces.c.seconds + LATEST * (seconds - paces.c.seconds)
    known = update(paces).where(paces.c.pace == request.speed_key)
    if tx.execute(known.values(seconds=blended, measured=paces.c.measured + 1)).rowcount == 0:
        tx.execute(insert(paces).values(pace=request.speed_key, seconds=seconds, measured=1))
