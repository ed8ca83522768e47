"""A loaded component: one network of a model, wherever its weights are; the passes through it, and their memory.

Activation memory, the bytes that a pass needs in addition to the weights, is guessed until it is measured; measurements
are stored in a file for the next start.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import structlog
import torch

from tintype.errors import NoRoom
from tintype.private import create

if TYPE_CHECKING:
    from tintype.diffusion.memory.device_memory import DeviceMemory

log = structlog.get_logger()

#: Measurements per kind of pass: the largest counts, since the first may reuse memory that others have freed.
MEASURED = 3
#: Added to a measurement for the allocator's fragmentation.
SLACK = 1.1
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
#: The C library caches freed blocks up to this size, so that using them again doesn't grow the process (mallopt(3),
#: M_MMAP_THRESHOLD).
HEAP = 32 * 2**20
T = TypeVar("T")
#: A forward pass: a network's parameters by name, all with the rows first → its first output.
Run = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class ForwardPass:
    """A kind of pass: through which component, what for, over what size."""

    #: The component's key.
    component: str
    kind: str
    height: int
    width: int
    rows: int
    #: Bytes of activation memory to reserve until one was measured.
    guess: int = field(default=0, compare=False)

    @property
    def row(self) -> tuple[object, ...]:
        """All that identifies it, as the file has it."""
        return self.component, self.kind, self.height, self.width, self.rows


def run_eagerly(network: Any, *, exact: bool = False, **inputs: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    """A forward pass as the libraries run it; `exact` makes no difference here."""
    output: torch.Tensor = network(**inputs, return_dict=False)[0]
    return output


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
        self, memory: DeviceMemory, key: str, name: str, size: int, build: Callable[[], Any], itemsize: int
    ) -> None:
        self.memory = memory
        #: Equal keys mean equal weights of one dtype.
        self.key = key
        self.name = name
        #: Bytes of its weights.
        self.size = size
        #: Builds the module in host memory from its files.
        self.build = build
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

    @property
    def evictable(self) -> bool:
        """Whether it may leave the device now."""
        return not self.pinned and self.leases == 0

    def run(self, forward: ForwardPass, call: Callable[[Any], T]) -> T:
        """One forward pass: `call` gets the module, on the device, with activation memory reserved; raises NoRoom.

        If the device runs out of memory all the same, evicts everything that is not in use and tries once more.
        """
        try:
            with self.memory.lease(self, forward):
                return call(self.module)
        except RuntimeError as error:
            if not out_of_memory(error) or not self.memory.evict_unused(self):
                raise
        with self.memory.lease(self, forward):
            return call(self.module)

    def estimate(self, forward: ForwardPass) -> PassEstimate:
        """The memory that the pass is expected to need."""
        return PassEstimate(self, self.memory.activation.expect(forward))


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on the device or on the CPU, whose allocator has no exception class for it."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@dataclass(frozen=True)
class PassEstimate:
    """One pass through a component."""

    component: LoadedComponent
    #: Bytes in addition to its weights.
    activation: int


@dataclass(frozen=True)
class MemoryEstimate:
    """The passes of one image: before its first step, at every step, and after its last."""

    #: On the device from the first step to the last pixel.
    denoiser: LoadedComponent
    #: One after the other before the first step, without the denoiser.
    before: tuple[PassEstimate, ...]
    #: One after the other, the denoiser being on the device.
    during: tuple[PassEstimate, ...]

    def fits(self, others: Iterable[MemoryEstimate] = ()) -> bool:
        """Whether it fits next to others that are running, all of whose later passes must still fit."""
        running = list(others)
        held = {one.denoiser for one in running}
        before = [(one, held) for one in self.before]
        later = [(one, held | {self.denoiser}) for estimate in (*running, self) for one in estimate.during]
        return all(one.component.memory.fits({one.component, *on}, one.activation) for one, on in (*before, *later))

    @property
    def peak(self) -> int:
        """Peak bytes of its denoiser's memory if it runs alone."""
        memory = self.denoiser.memory
        return max(memory.total(held, one.activation) for one, held in self._alone())

    def error(self) -> NoRoom:
        """The error of an image that doesn't fit even alone, with the bytes it needs."""
        needed, budget = max(
            (memory.total(held, one.activation), memory.budget)
            for one, held in self._alone()
            if not (memory := one.component.memory).fits(held, one.activation)
        )
        return NoRoom.of(needed, budget)

    def _alone(self) -> Iterator[tuple[PassEstimate, set[LoadedComponent]]]:
        """Each pass, with the components that are on the device during it if nothing else runs."""
        yield from ((one, {one.component}) for one in self.before)
        yield from ((one, {one.component, self.denoiser}) for one in self.during)


class Meter(Protocol):
    """Measures peak memory."""

    def start(self) -> None:
        """Begin a measurement."""

    def stop(self) -> int | None:
        """Bytes at the peak, above those in use at the start; None where they can't be told."""


class ActivationMemory:
    """The measured activation memory of every kind of pass; without a file it is lost with the process."""

    def __init__(self, meter: Meter | None = None, file: Path | None = None) -> None:
        self._meter = meter
        self._file = file
        self._bytes: dict[ForwardPass, int] = _read(file)
        self._times: dict[ForwardPass, int] = dict.fromkeys(self._bytes, MEASURED)
        #: Keys of components whose next pass isn't measured, as it reads the weights from disk for the first time.
        self.just_loaded: set[str] = set()

    def expect(self, forward: ForwardPass) -> int:
        """Bytes to reserve: as measured, else scaled from passes with other numbers of rows, else the guess."""
        if forward in self._bytes:
            return round(self._bytes[forward] * SLACK)
        per_row = [
            size / known.rows for known, size in self._bytes.items() if replace(known, rows=forward.rows) == forward
        ]
        return round(max(per_row) * forward.rows * SLACK) if per_row else forward.guess

    @contextmanager
    def measured(self, forward: ForwardPass) -> Iterator[None]:
        """Measure the pass that the block runs, unless it was measured often enough; failed ones aren't recorded."""
        if self._meter is None or self._times.get(forward, 0) >= MEASURED:
            yield
        elif forward.component in self.just_loaded:
            self.just_loaded.discard(forward.component)
            yield
        else:
            self._meter.start()
            yield
            self._record(forward, self._meter.stop())

    def _record(self, forward: ForwardPass, size: int | None) -> None:
        self._times[forward] = self._times.get(forward, 0) + 1
        if size is None:
            return
        self._bytes[forward] = max(size, self._bytes.get(forward, 0))
        if self._file is not None and self._times[forward] == MEASURED:
            _write(self._file, self._bytes)


class CudaMeter:
    """Reads the counters of torch's caching allocator, which are on the host: no synchronisation."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0

    def start(self) -> None:
        torch.cuda.reset_peak_memory_stats(self._device)
        self._before = torch.cuda.memory_allocated(self._device)

    def stop(self) -> int:
        return int(torch.cuda.max_memory_allocated(self._device) - self._before)


class ProcessMeter:
    """Reads the process's resident memory on Linux, which includes what other threads allocate meanwhile."""

    def __init__(self) -> None:
        self._before = 0

    def start(self) -> None:
        CLEAR.write_text("5")  # resets the peak, VmHWM (proc(5), clear_refs)
        self._before = proc_bytes(STATUS, "VmRSS")

    def stop(self) -> int | None:
        """None for fewer bytes than the C library may have cached."""
        grown = proc_bytes(STATUS, "VmHWM") - self._before
        return grown if grown >= HEAP else None


def meter(device: torch.device) -> Meter | None:
    """The device's meter; None where there is none, so that guesses are used."""
    if device.type == "cuda":
        return CudaMeter(device)
    if device.type == "cpu" and os.access(CLEAR, os.W_OK):
        return ProcessMeter()
    return None


def proc_bytes(file: Path, name: str) -> int:
    """A line `name: 123 kB`, in bytes; raises ValueError where there is none."""
    for line in file.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(name)


def _read(file: Path | None) -> dict[ForwardPass, int]:
    """The file's measurements; none of a file that is missing or of another version."""
    with suppress(OSError, ValueError, TypeError):
        if file is not None:
            return {ForwardPass(*row): int(size) for row, size in json.loads(file.read_text("utf-8"))}
    return {}


def _write(file: Path, known: dict[ForwardPass, int]) -> None:
    half = file.with_suffix(".half")
    try:
        half.unlink(missing_ok=True)
        with os.fdopen(create(half), "w", encoding="utf-8") as opened:
            json.dump([[forward.row, size] for forward, size in known.items()], opened)
        half.replace(file)
    except OSError as error:
        log.warning("can't store measured activation memory: measured again at the next start", error=error.strerror)
