"""How much memory there is for weights, and what becomes of it: the device's, and the host's beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from tintype.diffusion.memory.meters import free_on_host, margin, meter, spare
from tintype.diffusion.memory.peaks import Peaks
from tintype.diffusion.memory.residency import Residency
from tintype.diffusion.memory.transfer import CudaMover

#: More than any machine has.
ENDLESS = 2**60


@dataclass(frozen=True)
class Memory:
    """The memories that a model's components can be in."""

    device: Residency
    #: For components that run on the CPU beside a GPU; where the device is the CPU, the same one.
    host: Residency

    @classmethod
    def endless(cls) -> Memory:
        """Without a budget: for one model, in a process that does nothing else."""
        only = Residency(ENDLESS)
        return cls(only, only)

    def waited(self) -> float:
        """Seconds spent on bringing components since this was last asked."""
        return self.device.waited() + (0.0 if self.host is self.device else self.host.waited())

    def tidy(self, keep_alive: float | None = None) -> None:
        """Have what was not needed for so many seconds leave; None: for each part's own."""
        for memory in {self.device, self.host}:
            memory.tidy(keep_alive)


def open_memory(
    device: torch.device, budget: int | None, peaks: Path | None = None, *, set_aside: int = 0, share: float = 1.0
) -> Memory:
    """The memories of a worker on this device.

    budget: bytes of the device's memory that it may use; None is what is free, less a margin. peaks: the file that
    keeps what was measured. set_aside: bytes of the budget that are used for other things than models. share: how much
    of all memory there is a budget of None may come to, on the device and on the host.
    """
    measured = Peaks(meter(device), peaks)
    budget = max(0, (spare(device, share) if budget is None else budget) - set_aside)
    if device.type != "cuda":
        only = Residency(budget, peaks=measured)
        return Memory(only, only)
    free = free_on_host()
    # Half for what waits in host memory, half for what runs there.
    half = round(share * max(0, free - margin(free))) // 2
    return Memory(
        Residency(budget, host_budget=half, mover=CudaMover(device), peaks=measured),
        Residency(half, peaks=Peaks(meter(torch.device("cpu")))),
    )
