"""Where components are: on the device, in host memory, or on disk alone; on the device never more than the budget."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar
from weakref import WeakValueDictionary

import structlog
import torch

from tintype.diffusion.memory.peaks import Pass, Peaks
from tintype.errors import NoRoom

log = structlog.get_logger()

T = TypeVar("T")


class Place(StrEnum):
    """Where a component is."""

    DEVICE = "device"
    #: In host memory: pinned, where there is a GPU that fetches from it.
    HOST = "host"
    #: Nowhere but in its files.
    DISK = "disk"


class Mover(Protocol):
    """Brings modules to a device and back."""

    def arrive(self, module: Any) -> Any:
        """The module, on the device."""

    def leave(self, module: Any) -> Any:
        """The module, in host memory."""

    def trim(self) -> None:
        """Give back what the allocator keeps for later."""


class Stay:
    """The mover of the CPU, where a module is at work in the memory that it was built in."""

    def arrive(self, module: Any) -> Any:
        """The module as it is."""
        return module

    def leave(self, module: Any) -> Any:
        """The module as it is."""
        return module

    def trim(self) -> None:
        """Nothing: what is no longer used is the system's again."""


@dataclass(frozen=True)
class Work:
    """A pass through a component: what for, and over what."""

    kind: str
    height: int
    width: int
    rows: int
    #: Bytes that it needs beside the weights, as long as nobody has measured it.
    guess: int


class Part:
    """One component of a model, wherever it is; models whose numbers are the same have the same one."""

    def __init__(
        self, memory: Residency, key: str, name: str, size: int, build: Callable[[], Any], itemsize: int
    ) -> None:
        self.memory = memory
        #: Equal keys hold equal numbers of one type.
        self.key = key
        self.name = name
        #: Bytes of its weights.
        self.size = size
        #: Makes the module in host memory, out of its files.
        self.build = build
        #: Bytes of one number.
        self.itemsize = itemsize
        self.module: Any = None
        self.place = Place.DISK
        #: How many need it where it is; without any it may have to leave.
        self.leases = 0
        #: Whether it never leaves the device.
        self.pinned = False
        #: When it was last needed, on the memory's clock.
        self.used_at = 0.0

    @property
    def stays(self) -> bool:
        """Whether it may not leave the device now."""
        return self.pinned or self.leases > 0

    def run(self, work: Work, module: Callable[[Any], T]) -> T:
        """One pass: `module` is called with the module on the device, while there is room for it; raises NoRoom.

        If the device has less room than was thought, everything else makes way, and it is tried once more.
        """
        try:
            return self._run(work, module)
        except RuntimeError as error:
            if not out_of_memory(error) or not self.memory.relieve(self):
                raise
        return self._run(work, module)

    def expects(self, work: Work) -> int:
        """Bytes that such a pass is taken to need beside the weights."""
        return self.memory.peaks.expect(self._kind(work), work.guess)

    def _run(self, work: Work, module: Callable[[Any], T]) -> T:
        with self.memory.lease(self, self._kind(work), work.guess):
            return module(self.module)

    def _kind(self, work: Work) -> Pass:
        return Pass(self.key, work.kind, work.height, work.width, work.rows)


@dataclass(frozen=True)
class Report:
    """What a memory holds, in bytes."""

    used: int
    budget: int
    #: The most that was in use at once since the start.
    peak: int
    #: Components brought to the device since the start, and the seconds that took.
    loads: int
    seconds: float
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
        #: Reentrant, and held while components move: whoever looks from another thread sees a settled state.
        self.lock = threading.RLock()
        self._mover = mover or Stay()
        self._clock = clock
        #: All that somebody may still ask for.
        self._known: WeakValueDictionary[str, Part] = WeakValueDictionary()
        #: Those on the device or in host memory, in the order in which they were last needed.
        self._parts: dict[str, Part] = {}
        self._promised = 0
        self._told = 0.0

    def part(self, key: str, name: str, size: int, build: Callable[[], Any], itemsize: int = 4) -> Part:
        """The component with this key, known from now on."""
        with self.lock:
            return self._known.setdefault(key, Part(self, key, name, size, build, itemsize))

    @property
    def used(self) -> int:
        """Bytes on the device: weights, and what running passes were promised."""
        return self._promised + sum(part.size for part in self._at(Place.DEVICE))

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
            staying = sum(one.size for one in self._at(Place.DEVICE) if one.stays)
            return part.place is Place.DEVICE or staying + self._promised + part.size <= self.budget

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
            part.used_at = self._clock()
            self._parts.pop(part.key, None)
            self._parts[part.key] = part
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
            idle = [part for part in self._idle() if part is not besides]
            for part in idle:
                self._evict(part, besides)
            self._mover.trim()
            return bool(idle)

    def tidy(self, keep_alive: float) -> None:
        """Have what was not needed for `keep_alive` seconds leave, for its files at once."""
        with self.lock:
            for part in [part for part in self._parts.values() if not part.stays]:
                if self._clock() - part.used_at > keep_alive:
                    self._drop(part)

    def waited(self) -> float:
        """Seconds spent on bringing components since this was last asked."""
        since, self._told = self.seconds - self._told, self.seconds
        return since

    def report(self) -> Report:
        """What is where."""
        with self.lock:
            parts = tuple((part.name, part.size, part.place) for part in self._known.values())
            return Report(self.used, self.budget, self.peak, self.loads, self.seconds, parts)

    def _at(self, place: Place) -> list[Part]:
        return [part for part in self._parts.values() if part.place is place]

    def _idle(self) -> list[Part]:
        """Those on the device that could leave, the one needed longest ago first."""
        return [part for part in self._at(Place.DEVICE) if not part.stays]

    def _make_room(self, needed: int, coming: Part) -> None:
        idle = [part for part in self._idle() if part is not coming]
        free = self.budget - self.used
        room = free + sum(part.size for part in idle)
        if room < needed:
            raise NoRoom.of(self.budget - room + needed, self.budget)
        while free < needed:
            part = idle.pop(0)
            self._evict(part, coming)
            free += part.size

    def _bring(self, part: Part) -> None:
        began = self._clock()
        try:
            self._arrive(part)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            self.relieve(part)  # somebody else's program has taken of it meanwhile
            self._arrive(part)
        part.place = Place.DEVICE
        self._parts[part.key] = part
        self.peaks.fresh.add(part.key)
        self.loads += 1
        self.seconds += self._clock() - began
        log.info("loaded", component=part.name, megabytes=part.size >> 20, seconds=round(self._clock() - began, 3))

    def _arrive(self, part: Part) -> None:
        module = part.module if part.place is Place.HOST else part.build()
        try:
            part.module = self._mover.arrive(module)
        except RuntimeError:
            if part.place is Place.HOST:
                self._drop(part)  # some of it has arrived, and nobody knows which
            raise

    def _evict(self, part: Part, coming: Part) -> None:
        """Off the device: into host memory, where others than the coming one make room for it, or out altogether."""
        waiting = [one for one in self._at(Place.HOST) if one is not coming]
        free = self.host_budget - sum(one.size for one in self._at(Place.HOST))
        if free + sum(one.size for one in waiting) < part.size:
            self._drop(part)
            return
        while free < part.size:
            free += waiting[0].size
            self._drop(waiting.pop(0))
        part.module = self._mover.leave(part.module)
        part.place = Place.HOST

    def _drop(self, part: Part) -> None:
        part.module, part.place = None, Place.DISK
        del self._parts[part.key]


def no_room(error: BaseException) -> bool:
    """Whether a smaller piece of the same work may succeed: it was refused its room, or has run out of it."""
    return isinstance(error, NoRoom) or out_of_memory(error)


def out_of_memory(error: BaseException) -> bool:
    """Whether the device, or the CPU, had no room; the CPU's allocator has no class of its own for that."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
