"""Dtype selection: bfloat16 or float32, whichever is faster on this device, measured on layers of the model's size."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf, prod

import structlog
import torch
from torch.nn import functional as F

from tintype.checkpoints.component import Component
from tintype.checkpoints.files import MALFORMED
from tintype.diffusion.devices import device_type
from tintype.errors import WeightsUnusable

log = structlog.get_logger()

#: Rows of the measured batch: one image with guidance.
ROWS = 2
#: Interleaved measurements of each dtype: min and max rounds, and the seconds after which they end in between.
MIN_ROUNDS, MAX_ROUNDS, SECONDS = 5, 40, 0.1
#: Max multiplications of one measurement: some ten milliseconds, with enough latents for the ratio of more.
WORK = 1e9
#: Max channels measured: more change the ratio little, and initialising their weights takes longer than using them.
MAX_CHANNELS = 320
#: Min speed-up of bfloat16, as float32 is more precise.
MIN_SPEEDUP = 1.1


@dataclass(frozen=True)
class Layers:
    """The size of a network's layers."""

    channels: int
    #: Latents along one side.
    side: int
    convolves: bool

    @classmethod
    def of(cls, denoiser: Component) -> Layers:
        """The middle layers of a denoiser, by its configuration; raises WeightsUnusable where that is invalid."""
        config = denoiser.config
        try:
            if "block_out_channels" not in config:
                channels = config["num_attention_heads"] * config.get("attention_head_dim", 64)
                return cls(
                    int(channels), int(config.get("sample_size", 128)) // int(config.get("patch_size", 2)), False
                )
            levels = config["block_out_channels"]
            middle = len(levels) // 2  # a UNet halves the side from one level to the next
            return cls(int(levels[middle]), int(config.get("sample_size") or 64) >> middle, True)
        except MALFORMED as error:
            raise WeightsUnusable(f"component {denoiser.name}: its config.json doesn't say how large it is") from error

    @property
    def work(self) -> float:
        """Multiplications of one block per latent and row."""
        return (9 if self.convolves else 4) * self.channels**2 + 8 * self.channels**2

    def within(self, limit: float) -> Layers:
        """Scaled down to that many multiplications."""
        small = replace(self, channels=min(self.channels, MAX_CHANNELS))
        return replace(small, side=max(2, min(self.side, int((limit / (ROWS * small.work)) ** 0.5))))


def pick_dtype(name: str, device: torch.device, denoiser: Component | None) -> torch.dtype:
    """The named dtype; with `auto` bfloat16 where the device computes in it and the denoiser is faster in it.

    Raises WeightsUnusable for a denoiser whose configuration is invalid.
    """
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    if denoiser is None or not device_type(device).bfloat16(device):
        return torch.float32
    # GPUs that have it are always faster in it, and hold twice as many weights.
    return torch.bfloat16 if device.type != "cpu" else _faster(Layers.of(denoiser))


def speedup(layers: Layers) -> float:
    """How many times faster a block of this size is in bfloat16 than in float32 on this CPU, measured now."""
    small = layers.within(WORK)
    with torch.inference_mode():
        passes = [_block(small, dtype) for dtype in (torch.float32, torch.bfloat16)]
        float32, bfloat16 = shortest(passes)
    return float32 / bfloat16


def shortest(works: Sequence[Callable[[], object]]) -> list[float]:
    """Seconds of each function: the shortest of many interleaved measurements.

    The shortest, since other programs only slow it down: the same machine must select the same dtype at every start, or
    the same request would give other bits.
    """
    for work in works:
        work()  # the first run of a shape also pays for initialisation
    seconds = [inf] * len(works)
    began, rounds = time.perf_counter(), 0
    while rounds < MIN_ROUNDS or (rounds < MAX_ROUNDS and time.perf_counter() < began + SECONDS):
        seconds = [min(known, timed(work)) for known, work in zip(seconds, works, strict=True)]
        rounds += 1
    return seconds


def medians(works: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Seconds of each function: the median of `rounds` interleaved measurements."""
    for work in works:
        work()
    taken = [[timed(work) for work in works] for _ in range(rounds)]
    return [statistics.median(seconds) for seconds in zip(*taken, strict=True)]


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _faster(layers: Layers) -> torch.dtype:
    ratio = speedup(layers)
    chosen = torch.bfloat16 if ratio >= MIN_SPEEDUP else torch.float32
    log.info("dtype selected", dtype=str(chosen), bfloat16_is_faster=round(ratio, 2), channels=layers.channels)
    return chosen


def _block(layers: Layers, dtype: torch.dtype) -> Callable[[], torch.Tensor]:
    """A block like those of both families: a convolution, in networks that have some, attention and a feed-forward."""
    width = layers.channels
    size = ROWS, width, layers.side, layers.side
    x = _random(*size).to(dtype, memory_format=torch.channels_last)
    kernel = _random(width, width, 3, 3).to(dtype, memory_format=torch.channels_last)
    qkv, up, down = (
        _random(*shape).to(dtype) for shape in ((3 * width, width), (4 * width, width), (width, 4 * width))
    )

    def run() -> torch.Tensor:
        y = F.conv2d(F.silu(x), kernel, padding=1) if layers.convolves else x
        words = y.flatten(2).transpose(1, 2)
        words = words + F.scaled_dot_product_attention(*F.linear(words, qkv).chunk(3, dim=-1))
        return words + F.linear(F.gelu(F.linear(F.layer_norm(words, (width,)), up)), down)

    return run


def _random(*shape: int) -> torch.Tensor:
    """Random values that don't grow from layer to layer; torch's global generator is not used."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator) / prod(shape[1:]) ** 0.5
