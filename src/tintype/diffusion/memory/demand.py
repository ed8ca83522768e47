"""What a picture will need of the memory, from its text to its pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tintype.diffusion.memory.part import Part
from tintype.diffusion.memory.residency import Residency
from tintype.errors import NoRoom


@dataclass(frozen=True)
class Step:
    """One pass: through a component, with so many bytes beside its weights."""

    part: Part
    working: int


@dataclass(frozen=True)
class Demand:
    """What one picture needs: before its first step, at every step, and after its last."""

    #: On the device from the first step to the last pixel.
    kept: Part
    #: One after the other before the first step, without `kept`.
    before: tuple[Step, ...]
    #: One after the other, each beside `kept`.
    during: tuple[Step, ...]

    def fits(self, others: Iterable[Demand] = ()) -> bool:
        """Whether it has room beside others under way, whose every later step must still find its own."""
        running = list(others)
        already = {demand.kept for demand in running}
        kept = already | {self.kept}
        later = [step for demand in (*running, self) for step in demand.during]
        return all(_fits(already, step) for step in self.before) and all(_fits(kept, step) for step in later)

    @property
    def most(self) -> int:
        """Bytes of its denoiser's memory that it takes at most, by itself."""
        memory = self.kept.memory
        return max(memory.total(_of(memory, parts), step.working) for step, parts in self._alone())

    def error(self) -> NoRoom:
        """That it has no room, not even by itself, and how much it would need."""
        needed, budget = max(
            (memory.total(_of(memory, parts), step.working), memory.budget)
            for step, parts in self._alone()
            if not _fits(parts, step) and (memory := step.part.memory)
        )
        return NoRoom.of(needed, budget)

    def _alone(self) -> Iterator[tuple[Step, set[Part]]]:
        """Each pass, and the components that are there at it if nothing else is under way."""
        yield from ((step, {step.part}) for step in self.before)
        yield from ((step, {step.part, self.kept}) for step in self.during)


def _fits(kept: set[Part], step: Step) -> bool:
    """A component may be of another memory than the others: a text encoder on the CPU takes none of the GPU's."""
    memory = step.part.memory
    return memory.fits(_of(memory, kept | {step.part}), step.working)


def _of(memory: Residency, parts: set[Part]) -> set[Part]:
    return {part for part in parts if part.memory is memory}
