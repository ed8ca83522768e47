"""A model that can be drawn with; its weights come when they are needed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tintype.diffusion.image_state import Family
from tintype.diffusion.memory.component import Location


@dataclass(frozen=True)
class Loaded:
    """A model that can be drawn with, and what tells it apart from others."""

    family: Family
    #: Of its weights.
    fingerprint: str
    #: Its arithmetic: float32 or bfloat16.
    dtype: str
    t5_tokens: int
    #: Side of the square whose area it draws, whatever size was asked for; None for the size itself.
    native_size: int | None
    #: Whether the weights are the ones that tintype brings along.
    builtin: bool

    @property
    def warm(self) -> bool:
        """Whether all its weights are where they work."""
        return all(part.location is Location.DEVICE for part in self.family.components)

    @property
    def at_hand(self) -> bool:
        """Whether its denoiser is where it works: the largest part, and the one that stays for a whole picture."""
        return self.family.denoiser.location is Location.DEVICE

    @property
    def must_wait(self) -> bool:
        """Whether its weights have no room only because of what is under way."""
        parts = self.family.components
        possible = all(part.memory.fits([part], 0) for part in parts)
        return possible and not all(part.memory.can_fit(part) for part in parts)

    def keep(self, seconds: float) -> None:
        """Let its weights leave after so many seconds in which nobody needed them; 0 is never.

        What it shares with another model stays for the longer of both times.
        """
        for part in self.family.components:
            part.keep_alive = seconds if part.keep_alive is None else longer(part.keep_alive, seconds)

    def bring(self) -> None:
        """Bring all its weights to where they work; raises NoRoom, WeightsUnusable."""
        with torch.inference_mode():
            for part in self.family.components:
                part.memory.acquire(part)
                part.memory.release(part)


def longer(one: float, other: float) -> float:
    """The longer of two times, of which 0 is for ever."""
    return max(one, other) if one and other else 0.0
