"""The memory that one image needs, from its text to its pixels: whether it fits next to others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tintype.diffusion.memory.component import LoadedComponent
from tintype.diffusion.memory.device_memory import DeviceMemory
from tintype.errors import NoRoom


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
        later = [one for estimate in (*running, self) for one in estimate.during]
        return all(_fits(held, one) for one in self.before) and all(_fits(held | {self.denoiser}, one) for one in later)

    @property
    def peak(self) -> int:
        """Peak bytes of its denoiser's memory if it runs alone."""
        memory = self.denoiser.memory
        return max(memory.total(_of(memory, held), one.activation) for one, held in self._alone())

    def error(self) -> NoRoom:
        """The error of an image that doesn't fit even alone, with the bytes it needs."""
        needed, budget = max(
            (memory.total(_of(memory, held), one.activation), memory.budget)
            for one, held in self._alone()
            if not _fits(held, one) and (memory := one.component.memory)
        )
        return NoRoom.of(needed, budget)

    def _alone(self) -> Iterator[tuple[PassEstimate, set[LoadedComponent]]]:
        """Each pass, with the components that are on the device during it if nothing else runs."""
        yield from ((one, {one.component}) for one in self.before)
        yield from ((one, {one.component, self.denoiser}) for one in self.during)


def _fits(held: set[LoadedComponent], one: PassEstimate) -> bool:
    """Components of other memories don't count: a text encoder on the CPU takes nothing of the GPU's memory."""
    memory = one.component.memory
    return memory.fits(_of(memory, held | {one.component}), one.activation)


def _of(memory: DeviceMemory, components: set[LoadedComponent]) -> set[LoadedComponent]:
    return {component for component in components if component.memory is memory}
