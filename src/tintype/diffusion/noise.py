"""Noise of one picture's own: never from a generator that somebody else draws from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

#: Each call gives a fresh standard normal of the latents' shape, on their device.
Noise = Callable[[], torch.Tensor]


def noise_stream(seed: int, shape: Sequence[int], device: torch.device) -> Noise:
    """Float32 noise drawn on the CPU, so that a seed means the same picture on every device."""
    generator = torch.Generator().manual_seed(seed)
    # Out of pinned memory a GPU fetches the noise by itself; out of ordinary memory the CPU would wait for it.
    pinned = device.type == "cuda"

    def draw() -> torch.Tensor:
        return torch.randn(shape, generator=generator, pin_memory=pinned).to(device, non_blocking=pinned)

    return draw
