"""`python -m benchmarks.arithmetic`: bfloat16 against float32 on this CPU, at the built-in and at the true size."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import networks
from benchmarks.run import machine
from benchmarks.work import SIDE, source
from tintype.catalog.models import MODELS
from tintype.catalog.samples import LANDSCAPE
from tintype.checkpoints.checkpoint import Checkpoint
from tintype.checkpoints.component import Component
from tintype.checkpoints.weights import builtin_weights
from tintype.diffusion.compile import run_eagerly
from tintype.diffusion.dtype_selection import Layers, medians, speedup
from tintype.diffusion.libraries import quiet_libraries
from tintype.diffusion.loading import load
from tintype.families import FAMILIES
from tintype.families.sd15 import SD15
from tintype.media.decoder import Decoded
from tintype.worker.main import generate
from tintype.worker.models import ModelPool

FORMATS = (torch.float32, torch.bfloat16)
UNET = "UNet2DConditionModel"
TEXT = "stable-diffusion-3.5-turbo-txt2img"
LAST = torch.channels_last
CPU = torch.device("cpu")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="How many times faster bfloat16 is than float32, and where.")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each figure, interleaved")
    parser.add_argument("--true-rounds", type=int, default=2, help="the same for the UNet at its true size; 0 for none")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/latest-arithmetic.json"))
    given = parser.parse_args()
    quiet_libraries()
    found: dict[str, float] = {}
    with torch.inference_mode():
        for family in FAMILIES:
            found |= builtin(family, given.rounds)
        found |= requests(given.rounds)
        if given.true_rounds:
            found |= true_size(given.true_rounds)
    for name, figure in found.items():
        print(f"{name:90} {figure:.2f}")  # noqa: T201
    said = {
        **machine(),
        "weights": "built-in, and random at true size",
        "figures": {name: round(figure, 2) for name, figure in found.items()},
    }
    given.output.write_text(json.dumps(said, indent=2) + "\n")


def builtin(family: str, rounds: int) -> dict[str, float]:
    """The built-in denoiser and decoder of a family, at 128 × 128 pixels."""
    folder = Checkpoint(builtin_weights(family), family)
    denoiser, decoder = folder.component(folder.family.denoiser), folder.component(folder.family.autoencoder)
    if denoiser is None or decoder is None:
        raise RuntimeError("the built-in weights are incomplete")
    found = {f"{family} built-in: bf16 ÷ f32 speed, as the probe sees it": speedup(Layers.of(denoiser))}
    for rows in (2, 8):
        times = medians([step(load(denoiser, dtype), dtype, rows, 16) for dtype in FORMATS], rounds)
        found[f"{family} built-in: bf16 ÷ f32 speed, a step of {rows} rows"] = times[0] / times[1]
    works = [decode(decoder, dtype, layout) for dtype in FORMATS for layout in (torch.contiguous_format, LAST)]
    times = medians(works, rounds)
    for name, seconds in zip(("f32 channels_last", "bf16", "bf16 channels_last"), times[1:], strict=True):
        found[f"{family} built-in: {name} ÷ f32 speed, decoding"] = times[0] / seconds
    return found


def requests(rounds: int) -> dict[str, float]:
    """Whole requests at 256 × 256 pixels, from text to file."""
    found = {}
    for slug, sent in (("sd1.5-img2img", {}), (TEXT, {"width": 256, "height": 256})):
        spec = MODELS[slug]
        picture = Decoded(source(), (SIDE, SIDE), "") if spec.takes_image else None
        named = {"image": LANDSCAPE.path} if picture else {}
        wanted = spec.read(spec.validate({"prompt": "a fox", "seed": 1, **named, **sent})[0])
        models = [ModelPool("cpu", str(dtype).removeprefix("torch."), 256, {}).get(spec) for dtype in FORMATS]
        times = medians([partial(generate, one, slug, wanted, picture, 16) for one in models], rounds)
        found[f"{slug} built-in: bf16 ÷ f32 speed, a whole request"] = times[0] / times[1]
    return found


def true_size(rounds: int) -> dict[str, float]:
    """The UNet of Stable Diffusion 1.5 with random weights, one row of 64 × 64 latents."""
    works = []
    for dtype, layout in ((torch.float32, LAST), (torch.bfloat16, torch.contiguous_format), (torch.bfloat16, LAST)):
        unet = networks.random_network(UNET, networks.SD15_UNET, dtype, CPU)
        works.append(step(unet, dtype, 1, 64, layout))
    times = medians(works, rounds)
    config = {"block_out_channels": unet.config.block_out_channels, **networks.SD15_UNET}
    found = {
        "SD1.5 true size: bf16 ÷ f32 speed, as the probe sees it": speedup(
            Layers.of(Component(SD15.denoiser, UNET, config, []))
        )
    }
    for name, seconds in zip(("bf16", "bf16 channels_last"), times[1:], strict=True):
        found[f"SD1.5 true size: {name} ÷ f32 channels_last speed, a step"] = times[0] / seconds
    return found | {"SD1.5 true size: seconds of a step, f32 channels_last": times[0]}


def step(
    network: Any, dtype: torch.dtype, rows: int, side: int, layout: torch.memory_format = LAST
) -> Callable[[], torch.Tensor]:
    """A denoiser's pass, its weights and latents in that layout."""
    given = networks.inputs(network, side, rows, dtype, CPU)
    latents = next(iter(given))
    given[latents] = given[latents].contiguous(memory_format=layout)
    return partial(run_eagerly, network.to(memory_format=layout), **given)


def decode(component: Component, dtype: torch.dtype, layout: torch.memory_format) -> Callable[[], torch.Tensor]:
    """A decoder's pass over 16 × 16 latents."""
    decoder = load(component, dtype).to(memory_format=layout)
    latents = torch.randn(1, decoder.config.latent_channels, 16, 16).to(dtype, memory_format=layout)
    return lambda: decoder.decode(latents, return_dict=False)[0]


if __name__ == "__main__":
    main()
