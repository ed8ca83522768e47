"""A loaded component: one network of a model, wherever its weights are; the passes through it, and their memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from tintype.diffusion.memory.activation import ForwardPass
from tintype.errors import NoRoom

if TYPE_CHECKING:
    from tintype.diffusion.memory.device_memory import DeviceMemory

T = TypeVar("T")
#: A forward pass: a network's parameters by name, all with the rows first → its first output.
Run = Callable[..., torch.Tensor]


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
