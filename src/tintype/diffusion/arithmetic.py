"""The number format that a model is fastest in on this device: bfloat16 or float32, measured on layers of its size."""

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
from tintype.errors import WeightsUnusable

log = structlog.get_logger()

#: Rows of the measured batch: one picture with guidance.
ROWS = 2
#: Measurements of each format, in turn: at least and at most so many, and else for so many seconds.
LEAST_ROUNDS, MOST_ROUNDS, PATIENCE = 5, 40, 0.1
#: Multiplications that one measurement may take: some ten milliseconds, with enough latents for the ratio of more.
WORK = 1e9
#: Channels from which on more of them change the ratio little; their weights would take longer to draw than to use.
MOST_CHANNELS = 320
#: How many times faster bfloat16 must be: float32 is the reference, and needs a reason to be left.
WORTH_IT = 1.1


@dataclass(frozen=True)
class Layers:
    """The size of a network's layers: channels, latents along a side, and whether it convolves."""

    channels: int
    side: int
    convolves: bool

    @classmethod
    def of(cls, denoiser: Component) -> Layers:
        """Those in the middle of a denoiser, by its configuration; raises WeightsUnusable where that makes no sense."""
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
        """Multiplications of one block, for one latent of a row."""
        return (9 if self.convolves else 4) * self.channels**2 + 8 * self.channels**2

    def within(self, most: float) -> Layers:
        """The same, no larger than that many multiplications allow."""
        small = replace(self, channels=min(self.channels, MOST_CHANNELS))
        return replace(small, side=max(2, min(self.side, int((most / (ROWS * small.work)) ** 0.5))))


def pick_dtype(name: str, device: torch.device, denoiser: Component | None) -> torch.dtype:
    """The named number format; with `auto` bfloat16 where the device computes in it and the denoiser gains by it.

    Raises WeightsUnusable for a denoiser whose configuration makes no sense.
    """
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    if denoiser is None or not has_bfloat16(device):
        return torch.float32
    # A GPU that has it is always faster in it, and holds twice as much.
    return torch.bfloat16 if device.type != "cpu" else _faster(Layers.of(denoiser))


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16, and does not only store it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # oneDNN falls back to emulation, slower than float32, where the CPU has no bfloat16 instructions.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def gain(layers: Layers) -> float:
    """How many times faster a block of this size is in bfloat16 than in float32, on this CPU, just now."""
    small = layers.within(WORK)
    with torch.inference_mode():
        passes = [_pass(small, dtype) for dtype in (torch.float32, torch.bfloat16)]
        slow, quick = best(passes)
    return slow / quick


def best(works: Sequence[Callable[[], object]]) -> list[float]:
    """Seconds that each of the works takes when nothing is in its way: the shortest of many turns.

    The shortest, because other programs come and go: the same machine must come to the same answer at every start, or
    the same request would be drawn with other bits.
    """
    taken = [warm(work) for work in works]
    began, rounds = time.perf_counter(), 0
    while rounds < LEAST_ROUNDS or (rounds < MOST_ROUNDS and time.perf_counter() < began + PATIENCE):
        taken = [min(least, timed(work)) for least, work in zip(taken, works, strict=True)]
        rounds += 1
    return taken


def medians(works: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Seconds that each of the works takes, as the median of so many rounds in which they take turns."""
    for work in works:
        warm(work)
    taken = [[timed(work) for work in works] for _ in range(rounds)]
    return [statistics.median(seconds) for seconds in zip(*taken, strict=True)]


def warm(work: Callable[[], object]) -> float:
    """Run once: the first run of a shape pays for what the later ones find ready. No measurement: infinite seconds."""
    work()
    return inf


def timed(work: Callable[[], object]) -> float:
    """Seconds that the work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _faster(layers: Layers) -> torch.dtype:
    ratio = gain(layers)
    chosen = torch.bfloat16 if ratio >= WORTH_IT else torch.float32
    log.info("number format chosen", dtype=str(chosen), bfloat16_is_faster=round(ratio, 2), channels=layers.channels)
    return chosen


def _pass(layers: Layers, dtype: torch.dtype) -> Callable[[], torch.Tensor]:
    """A block as both families have them: a convolution, where there are any, then attention and a feed-forward."""
    wide = layers.channels
    size = ROWS, wide, layers.side, layers.side
    x = _drawn(*size).to(dtype, memory_format=torch.channels_last)
    kernel = _drawn(wide, wide, 3, 3).to(dtype, memory_format=torch.channels_last)
    looking, widening, narrowing = (
        _drawn(*shape).to(dtype) for shape in ((3 * wide, wide), (4 * wide, wide), (wide, 4 * wide))
    )

    def run() -> torch.Tensor:
        y = F.conv2d(F.silu(x), kernel, padding=1) if layers.convolves else x
        words = y.flatten(2).transpose(1, 2)
        words = words + F.scaled_dot_product_attention(*F.linear(words, looking).chunk(3, dim=-1))
        return words + F.linear(F.gelu(F.linear(F.layer_norm(words, (wide,)), widening)), narrowing)

    return run


def _drawn(*shape: int) -> torch.Tensor:
    """Numbers around 0, whatever they are, that grow no larger from layer to layer; torch's own seed is left alone."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator) / prod(shape[1:]) ** 0.5
