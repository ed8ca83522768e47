"""`python -m benchmarks.arithmetic`: bfloat16 against float32 on this CPU, at the built-in and at the true size."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.run import machine
from benchmarks.work import source
from tintype.catalog.models import MODELS
from tintype.catalog.order import order
from tintype.catalog.samples import LANDSCAPE
from tintype.checkpoints.builtin import builtin_weights
from tintype.checkpoints.component import Component
from tintype.checkpoints.folder import Folder
from tintype.diffusion.arithmetic import Layers, gain, medians
from tintype.diffusion.families import DENOISERS
from tintype.diffusion.libraries import find_class, quiet_libraries
from tintype.diffusion.loading import load
from tintype.worker.direct import draw_order
from tintype.worker.models import Models

FORMATS = (torch.float32, torch.bfloat16)
#: `unet/config.json` of Stable Diffusion 1.5, where it differs from what the class takes for granted.
TRUE_UNET = {"cross_attention_dim": 768, "sample_size": 64}
TEXT = "stable-diffusion-3.5-turbo-txt2img"
LAST = torch.channels_last


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="How many times faster bfloat16 is than float32, and where.")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each figure, interleaved")
    parser.add_argument("--true-rounds", type=int, default=2, help="the same for the UNet at its true size; 0 for none")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/latest-arithmetic.json"))
    given = parser.parse_args()
    quiet_libraries()
    found: dict[str, Any] = {}
    with torch.inference_mode():
        for family in DENOISERS:
            found |= builtin(family, given.rounds)
        found |= requests(given.rounds)
        if given.true_rounds:
            found |= true_size(given.true_rounds)
    for name, figure in found.items():
        print(f"{name:70} {figure}")  # noqa: T201
    said = {**machine(), "weights": "built-in, and random at true size", "figures": found}
    given.output.write_text(json.dumps(said, indent=2) + "\n")


def builtin(family: str, rounds: int) -> dict[str, float]:
    """The built-in denoiser and decoder of a family, at 128 × 128 pixels."""
    folder = Folder(builtin_weights(family))
    denoiser, decoder = folder.component(DENOISERS[family]), folder.component("vae")
    if denoiser is None or decoder is None:
        raise RuntimeError("the built-in weights are incomplete")
    found = {f"{family} built-in: bf16 ÷ f32 speed, as the probe sees it": round(gain(Layers.of(denoiser)), 2)}
    for rows in (2, 8):
        times = medians([partial(ask(load(denoiser, dtype), dtype, rows, 16)) for dtype in FORMATS], rounds)
        found[f"{family} built-in: bf16 ÷ f32 speed, a step of {rows} rows"] = round(times[0] / times[1], 2)
    works = [decode(decoder, dtype, layout) for dtype in FORMATS for layout in (torch.contiguous_format, LAST)]
    times = medians(works, rounds)
    for name, seconds in zip(("f32 channels_last", "bf16", "bf16 channels_last"), times[1:], strict=True):
        found[f"{family} built-in: {name} ÷ f32 speed, decoding"] = round(times[0] / seconds, 2)
    return found


def requests(rounds: int) -> dict[str, float]:
    """Whole requests at 256 × 256 pixels, from text to file."""
    found = {}
    for slug, sent in (("sd1.5-img2img", {}), (TEXT, {"width": 256, "height": 256})):
        spec = MODELS[slug]
        picture = source() if spec.takes_picture else None
        named = {"image": LANDSCAPE.path} if picture else {}
        wanted = order(spec, spec.validate({"prompt": "a fox", "seed": 1, **named, **sent})[0])
        models = [Models("cpu", str(dtype).removeprefix("torch."), 256, {}).get(spec) for dtype in FORMATS]
        times = medians([partial(draw_order, one, slug, wanted, picture, 16) for one in models], rounds)
        found[f"{slug} built-in: bf16 ÷ f32 speed, a whole request"] = round(times[0] / times[1], 2)
    return found


def true_size(rounds: int) -> dict[str, float]:
    """The UNet of Stable Diffusion 1.5 with random weights, one row of 64 × 64 latents."""
    kind = find_class("UNet2DConditionModel")
    variants = [(dtype, layout) for dtype in FORMATS for layout in (torch.contiguous_format, LAST)][1:]
    works = []
    for dtype, layout in variants:
        unet = random_network(kind, TRUE_UNET, dtype).to(memory_format=layout)
        works.append(ask(unet, dtype, 1, 64, layout))
    times = medians(works, rounds)
    unet = Component("unet", "UNet2DConditionModel", {"block_out_channels": (320, 640, 1280, 1280), **TRUE_UNET}, [])
    found = {"SD1.5 true size: bf16 ÷ f32 speed, as the probe sees it": round(gain(Layers.of(unet)), 2)}
    for name, seconds in zip(("bf16", "bf16 channels_last"), times[1:], strict=True):
        found[f"SD1.5 true size: {name} ÷ f32 channels_last speed, a step"] = round(times[0] / seconds, 2)
    found["SD1.5 true size: seconds of a step, f32 channels_last"] = round(times[0], 2)
    return found


def random_network(kind: Any, config: dict[str, Any], dtype: torch.dtype, device: str = "cpu") -> Any:
    """A network at true size with small random weights, made on the device: speed doesn't depend on the numbers."""
    with torch.device("meta"):
        network = kind.from_config(config).to(dtype)
    network = network.to_empty(device=device).eval().requires_grad_(False)
    for tensor in network.parameters():
        tensor.normal_(0, 0.02)
    return network


def ask(
    network: Any, dtype: torch.dtype, rows: int, side: int, layout: torch.memory_format = LAST
) -> Callable[[], torch.Tensor]:
    """A denoiser's pass over `rows` of side × side latents, with random inputs on the network's device."""
    device = next(network.parameters()).device
    config = network.config
    x = torch.randn(rows, config.in_channels, side, side, device=device).to(dtype, memory_format=layout)
    level = torch.full((rows,), 500.0, device=device)
    if "joint_attention_dim" not in config:
        text = torch.randn(rows, 77, config.cross_attention_dim, device=device, dtype=dtype)
        return lambda: network(x, level, encoder_hidden_states=text, return_dict=False)[0]
    text = torch.randn(rows, 77 + 256, config.joint_attention_dim, device=device, dtype=dtype)
    pooled = torch.randn(rows, config.pooled_projection_dim, device=device, dtype=dtype)
    given = {"encoder_hidden_states": text, "pooled_projections": pooled, "return_dict": False}
    return lambda: network(hidden_states=x, timestep=level, **given)[0]


def decode(component: Component, dtype: torch.dtype, layout: torch.memory_format) -> Callable[[], torch.Tensor]:
    """A decoder's pass over 16 × 16 latents."""
    decoder = load(component, dtype).to(memory_format=layout)
    latents = torch.randn(1, decoder.config.latent_channels, 16, 16).to(dtype, memory_format=layout)
    return lambda: decoder.decode(latents, return_dict=False)[0]


if __name__ == "__main__":
    main()
