"""A loaded component: one network of a model, wherever its weights are; the passes through it, and their memory.

Activation memory, the bytes that a pass needs in addition to the weights, is guessed until it is measured; measurements
are stored in a file for the next start.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
import torch

from tintype.diffusion.devices import device_type
from tintype.errors import NoRoom
from tintype.private import create

if TYPE_CHECKING:
    from tintype.diffusion.memory.device_memory import DeviceMemory

log = structlog.get_logger()

#: Measurements per kind of pass: the largest counts, since the first may reuse memory that others have freed.
MEASURED = 3
#: Added to a measurement, and to a count, for the allocator's fragmentation.
SLACK = 1.1
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
#: The C library caches freed blocks up to this size, so that using them again doesn't grow the process (mallopt(3),
#: M_MMAP_THRESHOLD).
HEAP = 32 * 2**20
T = TypeVar("T")
#: What kind of pass: its component's key, what for, height, width, rows.
PassKey = tuple[str, str, int, int, int]


class Location(StrEnum):
    """Where a component's weights are."""

    DEVICE = "device"
    #: Offloaded to host memory: pinned, where a GPU copies from it.
    HOST = "host"
    #: Only in its files.
    DISK = "disk"


class LoadedComponent:
    """One network of a model; models whose weights are equal share it."""

    def __init__(
        self,
        memory: DeviceMemory,
        key: str,
        name: str,
        size: int,
        build: Callable[[], Any],
        itemsize: int,
        prepare: Callable[[Any], Any],
    ) -> None:
        self.memory = memory
        #: Equal keys mean equal weights of one dtype.
        self.key = key
        self.name = name
        #: Bytes of its weights.
        self.size = size
        #: Builds the module in host memory from its files, as they hold it.
        self.build = build
        #: What is done with it before it runs.
        self.prepare = prepare
        #: Bytes per element of its dtype.
        self.itemsize = itemsize
        self.module: Any = None
        self.location = Location.DISK
        #: Seconds of disuse after which it is evicted; 0 means never, and so does None, which is "not set".
        self.keep_alive: float | None = None
        #: Number of users that hold it on the device.
        self.leases = 0
        #: Whether it is never evicted.
        self.pinned = False
        #: When it was last used, on the memory's clock.
        self.used_at = 0.0
        #: Whether its next pass is the first since a load: it reads the weights from disk, too, and isn't measured.
        self.just_loaded = False

    @property
    def evictable(self) -> bool:
        """Whether it may leave the device now."""
        return not self.pinned and self.leases == 0

    def guess(self, elements: float) -> int:
        """Bytes to reserve for a pass that allocates this many elements."""
        return round(elements * self.itemsize * SLACK)

    def forward_pass(self, kind: str, height: int, width: int, rows: int, guess: int) -> ForwardPass:
        """A pass of `rows` rows through it; `guess` is the bytes of activation memory to reserve until measured."""
        key = self.key, kind, height, width, rows
        return ForwardPass(self, key, self.memory.activation.expect(key, guess))


@dataclass(frozen=True)
class ForwardPass:
    """One pass through a component."""

    component: LoadedComponent
    key: PassKey
    #: Bytes of activation memory to reserve.
    activation: int

    def run(self, call: Callable[[Any], T]) -> T:
        """`call` gets the module, on the device, with activation memory reserved; raises NoRoom.

        If the device runs out of memory all the same, evicts everything that is not in use and tries once more.
        """
        memory = self.component.memory
        try:
            with memory.lease(self) as module:
                return call(module)
        except RuntimeError as error:
            if not out_of_memory(error) or not memory.evict_unused(self.component):
                raise
        with memory.lease(self) as module:
            return call(module)


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on the device or on the CPU, whose allocator has no exception class for it."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@dataclass(frozen=True)
class MemoryEstimate:
    """The passes of one image: before its first step, at every step, and after its last."""

    #: On the device from the first step to the last pixel: one, or several that take turns.
    denoisers: tuple[LoadedComponent, ...]
    #: One after the other before the first step, without the denoisers.
    before: tuple[ForwardPass, ...]
    #: One after the other, the denoisers being on the device.
    during: tuple[ForwardPass, ...]

    def fits(self, others: Iterable[MemoryEstimate] = ()) -> bool:
        """Whether it fits next to others that are running, all of whose later passes must still fit."""
        return all(one.component.memory.fits(held, one.activation) for one, held in self._passes(list(others)))

    @property
    def peak(self) -> int:
        """Peak bytes of its denoisers' memory if it runs alone."""
        memory = self.denoisers[0].memory
        return max(memory.total(held, one.activation) for one, held in self._passes())

    def error(self) -> NoRoom:
        """The error of an image that doesn't fit even alone, with the bytes it needs."""
        needed, budget = max(
            (memory.total(held, one.activation), memory.budget)
            for one, held in self._passes()
            if not (memory := one.component.memory).fits(held, one.activation)
        )
        return NoRoom.of(needed, budget)

    def _passes(self, running: Sequence[MemoryEstimate] = ()) -> Iterator[tuple[ForwardPass, set[LoadedComponent]]]:
        """Each of its passes, and each later one of those that run, with the components on the device meanwhile."""
        held = {one for estimate in running for one in estimate.denoisers}
        yield from ((one, {one.component, *held}) for one in self.before)
        held.update(self.denoisers)
        yield from ((one, {one.component, *held}) for estimate in (*running, self) for one in estimate.during)


#: Begins to measure peak memory. The function that it returns ends that: bytes at the peak, above those in use at the
#: begin; None where they can't be told.
Meter = Callable[[], Callable[[], int | None]]


class ActivationMemory:
    """The measured activation memory of every kind of pass; without a file it is lost with the process."""

    def __init__(self, meter: Meter | None = None, file: Path | None = None) -> None:
        self._meter = meter
        self._file = file
        self._bytes: dict[PassKey, int] = _read(file)
        self._times: dict[PassKey, int] = dict.fromkeys(self._bytes, MEASURED)

    def expect(self, key: PassKey, guess: int) -> int:
        """Bytes to reserve: as measured, else scaled from passes with other numbers of rows, else the guess."""
        if key in self._bytes:
            return round(self._bytes[key] * SLACK)
        per_row = [size / known[-1] for known, size in self._bytes.items() if known[:-1] == key[:-1]]
        return round(max(per_row) * key[-1] * SLACK) if per_row else guess

    @contextmanager
    def measured(self, forward: ForwardPass) -> Iterator[None]:
        """Measure the pass that the block runs, unless it was measured often enough; failed ones aren't recorded."""
        if self._meter is None or self._times.get(forward.key, 0) >= MEASURED:
            yield
        elif forward.component.just_loaded:
            forward.component.just_loaded = False
            yield
        else:
            stop = self._meter()
            yield
            self._record(forward.key, stop())

    def _record(self, key: PassKey, size: int | None) -> None:
        self._times[key] = self._times.get(key, 0) + 1
        if size is None:
            return
        self._bytes[key] = max(size, self._bytes.get(key, 0))
        if self._file is not None and self._times[key] == MEASURED:
            _write(self._file, self._bytes)


def meter(device: torch.device) -> Meter | None:
    """The device's meter; None where there is none, so that guesses are used."""
    kind = device_type(device)
    if kind.allocator:
        return partial(_measure_allocator, kind.allocator, device)
    if device.type == "cpu" and os.access(CLEAR, os.W_OK):
        return _measure_process
    return None


def _measure_allocator(allocator: Any, device: torch.device) -> Callable[[], int]:
    """Reads the counters of torch's caching allocator, which are on the host: no synchronisation."""
    allocator.reset_peak_memory_stats(device)
    before = allocator.memory_allocated(device)
    return lambda: int(allocator.max_memory_allocated(device) - before)


def _measure_process() -> Callable[[], int | None]:
    """Reads the process's resident memory on Linux, which includes what other threads allocate meanwhile.

    None for fewer bytes than the C library may have cached.
    """
    CLEAR.write_text("5")  # resets the peak, VmHWM (proc(5), clear_refs)
    before = proc_bytes(STATUS, "VmRSS")

    def stop() -> int | None:
        grown = proc_bytes(STATUS, "VmHWM") - before
        return grown if grown >= HEAP else None

    return stop


def proc_bytes(file: Path, name: str) -> int:
    """A line `name: 123 kB`, in bytes; raises ValueError where there is none."""
    for line in file.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(name)


def _read(file: Path | None) -> dict[PassKey, int]:
    """The file's measurements; none of a file that is missing or of another version."""
    with suppress(OSError, ValueError, TypeError):
        if file is not None:
            said = json.loads(file.read_text("utf-8"))
            return {(key, kind, height, width, rows): int(size) for (key, kind, height, width, rows), size in said}
    return {}


def _write(file: Path, known: dict[PassKey, int]) -> None:
    half = file.with_suffix(".half")
    try:
        half.unlink(missing_ok=True)
        with os.fdopen(create(half), "w", encoding="utf-8") as opened:
            json.dump([*known.items()], opened)
        half.replace(file)
    except OSError as error:
        log.warning("can't store measured activation memory: measured again at the next start", error=error.strerror)
