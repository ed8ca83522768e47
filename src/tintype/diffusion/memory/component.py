"""A loaded component: one network of a model, wherever its weights are, and the forward passes through it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from tintype.diffusion.memory.activation import ForwardPass

if TYPE_CHECKING:
    from tintype.diffusion.memory.device_memory import DeviceMemory

T = TypeVar("T")


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

    def activation(self, forward: ForwardPass) -> int:
        """Bytes of activation memory that the pass is expected to need."""
        return self.memory.activation.expect(forward)


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on the device or on the CPU, whose allocator has no exception class for it."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
