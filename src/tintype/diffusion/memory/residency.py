"""The memory of one device: what is on it, what passes were promised, and never more than the budget."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import structlog

from tintype.diffusion.memory.mover import Mover, Stay
from tintype.diffusion.memory.part import Part, Place
from tintype.diffusion.memory.peaks import Pass, Peaks
from tintype.diffusion.memory.placement import Placement
from tintype.errors import NoRoom

log = structlog.get_logger()


@dataclass(frozen=True)
class Report:
    """What a memory holds, in bytes."""

    used: int
    budget: int
    #: The most that was in use at once since the start.
    peak: int
    #: Components brought to the device since the start.
    loads: int
    #: By component: its name, its size and its place.
    parts: tuple[tuple[str, int, Place], ...]


class Residency:
    """The components of one device: those needed longest ago leave it when others need the room.

    Weights on the device and what running passes were promised never come to more than `budget` bytes together. What
    leaves the device waits in host memory, up to `host_budget` bytes of it, and else in its files.
    """

    def __init__(
        self,
        budget: int,
        *,
        host_budget: int = 0,
        mover: Mover | None = None,
        peaks: Peaks | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.budget = budget
        self.host_budget = host_budget
        self.peaks = peaks or Peaks()
        self.peak = 0
        self.loads = 0
        self.seconds = 0.0
        #: Reentrant, and held while components move, which may take minutes: only who moves some may wait for it.
        self.lock = threading.RLock()
        self._clock = clock
        self._placement = Placement(mover or Stay(), host_budget, clock)
        #: All that somebody may still ask for.
        self._known: WeakValueDictionary[str, Part] = WeakValueDictionary()
        self._promised = 0
        self._told = 0.0

    def part(self, key: str, name: str, size: int, build: Callable[[], Any], itemsize: int = 4) -> Part:
        """The component with this key, known from now on."""
        with self.lock:
            return self._known.setdefault(key, Part(self, key, name, size, build, itemsize))

    @property
    def used(self) -> int:
        """Bytes on the device: weights, and what running passes were promised."""
        return self._promised + sum(part.size for part in self._placement.at(Place.DEVICE))

    def fits(self, parts: Iterable[Part], working: int) -> bool:
        """Whether these components and so many bytes beside them have room together, next to what is pinned."""
        return self.total(parts, working) <= self.budget

    def total(self, parts: Iterable[Part], working: int) -> int:
        """Bytes of these components, of what is pinned, and of so many beside them."""
        pinned = {part for part in self._known.values() if part.pinned}
        return sum(part.size for part in pinned | set(parts)) + working

    def could_take(self, part: Part) -> bool:
        """Whether the component is on the device, or would have room beside those that can't leave just now."""
        with self.lock:
            return part.place is Place.DEVICE or self._free(self._placement.idle(part)) >= part.size

    @contextmanager
    def lease(self, part: Part, work: Pass, guess: int) -> Iterator[None]:
        """The component on the device, and room for a pass through it, while the block runs; raises NoRoom."""
        promised = self.peaks.expect(work, guess)
        self.keep(part, promised)
        try:
            with self.peaks.watched(work):
                yield
        finally:
            self.release(part, promised)

    def keep(self, part: Part, promised: int = 0) -> None:
        """Bring the component to the device and keep it there until `release`; raises NoRoom, changing nothing."""
        with self.lock:
            here = part.place is Place.DEVICE
            self._make_room(promised + (0 if here else part.size), part)
            if not here:
                self._bring(part)
            part.leases += 1
            self._placement.touch(part)
            self._promised += promised
            self.peak = max(self.peak, self.used)

    def release(self, part: Part, promised: int = 0) -> None:
        """It may leave again, once everybody who kept it has said so."""
        with self.lock:
            part.leases -= 1
            part.used_at = self._clock()
            self._promised -= promised

    def relieve(self, besides: Part) -> bool:
        """Have everything leave that nobody needs just now, besides this one; whether there was any such thing."""
        with self.lock:
            return self._placement.relieve(besides)

    def tidy(self, keep_alive: float | None = None) -> None:
        """Have what was not needed for so many seconds leave, for its files at once; None: for each part's own."""
        with self.lock:
            self._placement.tidy(keep_alive)

    def waited(self) -> float:
        """Seconds spent on bringing components since this was last asked."""
        since, self._told = self.seconds - self._told, self.seconds
        return since

    def report(self) -> Report:
        """What is where; what is on its way is where it came from.

        Any thread may ask and none waits: a worker renews its leases on the thread that asks, also during a load.
        """
        known = [part for reference in self._known.valuerefs() if (part := reference())]
        parts = tuple((part.name, part.size, part.place) for part in known)
        return Report(self.used, self.budget, self.peak, self.loads, parts)

    def _free(self, idle: Iterable[Part]) -> int:
        """Bytes that nothing would take if these left."""
        return self.budget - self.used + sum(part.size for part in idle)

    def _make_room(self, needed: int, coming: Part) -> None:
        idle = self._placement.idle(coming)
        room = self._free(idle)
        if room < needed:
            raise NoRoom.of(self.budget - room + needed, self.budget)
        while self._free([]) < needed:
            self._placement.evict(idle.pop(0), coming)

    def _bring(self, part: Part) -> None:
        began = self._clock()
        self._placement.bring(part)
        seconds = self._clock() - began
        self.peaks.fresh.add(part.key)
        self.loads += 1
        self.seconds += seconds
        log.info("loaded", component=part.name, megabytes=part.size >> 20, seconds=round(seconds, 3))
