"""The memory of one device: an LRU cache of components within a budget that also covers activation memory."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import structlog
import torch

from tintype.diffusion.devices import device_type
from tintype.diffusion.memory.component import (
    ActivationMemory,
    ForwardPass,
    LoadedComponent,
    Location,
    meter,
    out_of_memory,
    proc_bytes,
)
from tintype.diffusion.memory.transfer import CudaTransfer, PlainTransfer, Transfer
from tintype.errors import NoRoom

log = structlog.get_logger()

MEMINFO = Path("/proc/meminfo")
#: A container's own limit (cgroup v2).
LIMIT, CURRENT = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
#: Left free for libraries and for fragmentation, as a share of the free memory, and at least in bytes.
MARGIN, MIN_MARGIN = 0.05, 512 * 2**20
#: More bytes than any machine has.
UNLIMITED = 2**60


class DeviceMemory:
    """The components of one device, evicted in LRU order when others need the room.

    Weights on the device plus the activation memory reserved for running passes never exceed `budget` bytes. Evicted
    components are offloaded to host memory, up to `host_budget` bytes, else dropped: their files remain.
    """

    def __init__(
        self,
        budget: int = UNLIMITED,
        *,
        host_budget: int = 0,
        cpu: DeviceMemory | None = None,
        transfer: Transfer | None = None,
        activation: ActivationMemory | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.budget = budget
        self.host_budget = host_budget
        #: The memory of components that run on the CPU in addition to a GPU; this one where the device is the CPU.
        self.cpu = cpu or self
        self.activation = activation or ActivationMemory()
        #: Every component that is still referred to.
        self.known: WeakValueDictionary[str, LoadedComponent] = WeakValueDictionary()
        #: Peak of `used`, and components brought to the device, since the start.
        self.peak = self.loads = 0
        #: Seconds spent on bringing components, and those of them that `take_load_seconds` has returned.
        self._seconds = self._taken_seconds = 0.0
        #: Reentrant, and held while components move, which may take minutes: wait for it only to move some.
        self.lock = threading.RLock()
        self._clock = clock
        self._transfer = transfer or Transfer()
        #: Those on the device or in host memory by key, least recently used first.
        self._components: dict[str, LoadedComponent] = {}
        #: Bytes of activation memory reserved for running passes.
        self._reserved = 0

    def component(
        self,
        key: str,
        name: str,
        size: int,
        build: Callable[[], Any],
        itemsize: int = 4,
        prepare: Callable[[Any], Any] = lambda module: module,
    ) -> LoadedComponent:
        """The component with this key, created at the first call."""
        with self.lock:
            return self.known.setdefault(key, LoadedComponent(self, key, name, size, build, itemsize, prepare))

    @property
    def used(self) -> int:
        """Bytes of weights on the device and of reserved activation memory.

        Takes no lock: a worker's heartbeat reads it, also during a load.
        """
        components = list(self._components.values())  # a copy, as other threads may change it
        return self._reserved + sum(one.size for one in components if one.location is Location.DEVICE)

    def fits(self, components: Iterable[LoadedComponent], activation: int) -> bool:
        """Whether these components and this much activation memory fit into the budget, next to pinned components."""
        return self.total(components, activation) <= self.budget

    def total(self, components: Iterable[LoadedComponent], activation: int) -> int:
        """Bytes of activation memory, of pinned components, and of those of these that are of this memory.

        A text encoder on the CPU takes none of a GPU's memory.
        """
        pinned = {one for one in self.known.values() if one.pinned}
        return activation + sum(one.size for one in pinned | {one for one in components if one.memory is self})

    def can_fit(self, component: LoadedComponent) -> bool:
        """Whether the component is on the device, or would fit next to those that can't be evicted now."""
        with self.lock:
            here = component.location is Location.DEVICE
            return here or self.budget - self.used + _size(self._evictable(component)) >= component.size

    @contextmanager
    def lease(self, forward: ForwardPass) -> Iterator[Any]:
        """The pass's module on the device, with activation memory reserved, while the block runs; raises NoRoom."""
        self.acquire(forward.component, forward.activation)
        try:
            with self.activation.measured(forward):
                yield forward.component.module
        finally:
            self.release(forward.component, forward.activation)

    def acquire(self, component: LoadedComponent, reserved: int = 0) -> None:
        """Bring the component to the device and hold it until `release`; raises NoRoom, changing nothing."""
        with self.lock:
            here = component.location is Location.DEVICE
            self._make_room(reserved + (0 if here else component.size), component)
            if not here:
                self._bring(component)
            component.leases += 1
            component.used_at = self._clock()
            self._components[component.key] = self._components.pop(component.key, component)
            self._reserved += reserved
            self.peak = max(self.peak, self.used)

    def release(self, component: LoadedComponent, reserved: int = 0) -> None:
        """Undo one `acquire`: without any left, the component may be evicted."""
        with self.lock:
            component.leases -= 1
            component.used_at = self._clock()
            self._reserved -= reserved

    def evict_unused(self, besides: LoadedComponent) -> bool:
        """Evict everything that is not in use, but for this component; returns whether there was any."""
        with self.lock:
            unused = self._evictable(besides)
            for one in unused:
                self._evict(one, besides)
            self._transfer.trim()
            return bool(unused)

    def evict_expired(self, keep_alive: float | None = None) -> None:
        """Drop what was not used for `keep_alive` seconds, on the CPU too; None means each component's own time."""
        with self.lock:
            for one in list(self._components.values()):
                limit = (one.keep_alive or inf) if keep_alive is None else keep_alive
                if one.evictable and self._clock() - one.used_at > limit:
                    self._drop(one)
        if self.cpu is not self:
            self.cpu.evict_expired(keep_alive)

    def take_load_seconds(self) -> float:
        """Seconds spent on bringing components, to the CPU too, since the last call."""
        seconds = self._seconds  # read once: another thread may add to it
        since, self._taken_seconds = seconds - self._taken_seconds, seconds
        return since if self.cpu is self else since + self.cpu.take_load_seconds()

    def _evictable(self, besides: LoadedComponent) -> list[LoadedComponent]:
        """Components that can leave the device for this one, least recently used first."""
        here = [one for one in self._components.values() if one.location is Location.DEVICE]
        return [one for one in here if one.evictable and one is not besides]

    def _make_room(self, needed: int, coming: LoadedComponent) -> None:
        free = self.budget - self.used
        if free >= needed:
            return
        candidates = self._evictable(coming)
        room = free + _size(candidates)
        if room < needed:
            raise NoRoom.of(self.budget - room + needed, self.budget)
        for one in candidates:
            if self.budget - self.used >= needed:
                return
            self._evict(one, coming)

    def _bring(self, component: LoadedComponent) -> None:
        """Load to the device; if that has less memory than the budget says, once more with everything else evicted."""
        began = self._clock()
        try:
            self._load(component)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            self.evict_unused(component)  # another program has taken of the device's memory
            self._load(component)
        component.location = Location.DEVICE
        self._components[component.key] = component
        seconds = self._clock() - began
        component.just_loaded = True
        self.loads += 1
        self._seconds += seconds
        log.info("loaded", component=component.name, megabytes=component.size >> 20, seconds=round(seconds, 3))

    def _load(self, component: LoadedComponent) -> None:
        module = component.module if component.location is Location.HOST else component.prepare(component.build())
        try:
            component.module = self._transfer.to_device(module)
        except RuntimeError:
            if component.location is Location.HOST:
                self._drop(component)  # some of its tensors have moved, and some have not
            raise

    def _evict(self, component: LoadedComponent, coming: LoadedComponent) -> None:
        """Offload to host memory, evicting LRU entries there but for the coming one if needed, else drop."""
        offloaded = [one for one in self._components.values() if one.location is Location.HOST]
        free = self.host_budget - _size(offloaded)
        candidates = [one for one in offloaded if one is not coming]
        if free + _size(candidates) < component.size:
            self._drop(component)
            return
        while free < component.size:
            free += candidates[0].size
            self._drop(candidates.pop(0))
        component.module = self._transfer.to_host(component.module)
        component.location = Location.HOST

    def _drop(self, component: LoadedComponent) -> None:
        component.module, component.location = None, Location.DISK
        del self._components[component.key]


def _size(components: Iterable[LoadedComponent]) -> int:
    return sum(one.size for one in components)


def open_memory(
    device: torch.device, budget: int | None, measured: Path | None = None, *, set_aside: int = 0, share: float = 1.0
) -> DeviceMemory:
    """The memory of a worker on this device.

    budget: bytes of the device's memory that it may use; None is what is free, less a margin. measured: the file of
    measured activation memory. set_aside: bytes of the budget for other things than models. share: the part of all
    memory that a budget of None may come to, on the device and on the host.
    """
    activation = ActivationMemory(meter(device), measured)
    budget = max(0, (available(device, share) if budget is None else budget) - set_aside)
    if device.type == "cpu":
        return DeviceMemory(budget, activation=activation)
    kind, free = device_type(device), free_on_host()
    # Half for offloaded components, half for those that run on the CPU.
    half = round(share * max(0, free - margin(free))) // 2
    cpu = DeviceMemory(half, activation=ActivationMemory(meter(torch.device("cpu"))))
    # Where the device's memory is main memory, offloaded weights would stay where they are.
    host = half if kind.discrete else 0
    transfer = CudaTransfer(device) if kind.pinned else PlainTransfer(device)
    return DeviceMemory(budget, host_budget=host, cpu=cpu, transfer=transfer, activation=activation)


def available(device: torch.device, share: float = 1.0) -> int:
    """Bytes that can be used now: what is free on the device, at most this share of all it has, less a margin."""
    free, total = free_on_host(), _total_on_host()
    kind = device_type(device)
    if kind.memory:
        there, total = kind.memory(device)
        free = there if kind.discrete else min(there, free)
    allowed = min(int(free), int(share * total))
    return max(0, allowed - margin(allowed))


def margin(free: int) -> int:
    """Bytes to leave unused of `free` ones."""
    return max(round(free * MARGIN), MIN_MARGIN)


def free_on_host() -> int:
    """Bytes of main memory that a process can still allocate, within its container's limit."""
    with suppress(OSError, ValueError):
        free = proc_bytes(MEMINFO, "MemAvailable")
        with suppress(OSError, ValueError):  # "max" where there is no limit
            return min(free, int(LIMIT.read_text()) - int(CURRENT.read_text()))
        return free
    return _total_on_host() // 2  # not Linux


def _total_on_host() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
