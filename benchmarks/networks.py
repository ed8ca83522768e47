"""Networks with random weights at a size of one's choice, and what they are asked: speed doesn't depend on numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from tintype.diffusion.compile import run_eagerly
from tintype.diffusion.libraries import find_class

Config = Mapping[str, Any]

#: Where the published configurations differ from what the classes take for granted.
SD15_UNET: Config = {"cross_attention_dim": 768, "sample_size": 64}
SD3_MEDIUM: Config = {
    "num_layers": 24,
    "num_attention_heads": 24,
    "caption_projection_dim": 1536,
    "pos_embed_max_size": 192,
}
SD35_LARGE: Config = {
    "num_layers": 38,
    "num_attention_heads": 38,
    "caption_projection_dim": 2432,
    "pos_embed_max_size": 192,
    "qk_norm": "rms_norm",
}
AUTOENCODER: Config = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 16,
}
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
#: Rows of text: CLIP's, and with T5's beside them.
CLIP_TOKENS, SD3_TOKENS = 77, 77 + 256


@dataclass(frozen=True)
class Denoiser:
    """A denoiser, the side of its latents, and the numbers of rows that it is measured with."""

    name: str
    class_name: str
    config: Config
    side: int
    rows: tuple[int, ...]


DENOISERS = (
    Denoiser("SD1.5 UNet, 512²", "UNet2DConditionModel", SD15_UNET, 64, (1, 2, 4, 8, 16, 32)),
    Denoiser("SD3 Medium, 1024²", "SD3Transformer2DModel", SD3_MEDIUM, 128, (1, 2, 4)),
    Denoiser("SD3.5 Large, 1024²", "SD3Transformer2DModel", SD35_LARGE, 128, (1, 2, 4)),
)


def random_network(class_name: str, config: Config, dtype: torch.dtype, device: torch.device) -> Any:
    """A network with small random weights, made on the device, its channels last."""
    network = on_meta(class_name, config).to(dtype).to_empty(device=device).eval().requires_grad_(False)
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.normal_(0, 0.02)
    return network.to(memory_format=torch.channels_last)


def on_meta(class_name: str, config: Config) -> Any:
    """The network without numbers."""
    with torch.device("meta"):
        return find_class(class_name).from_config(dict(config))


def inputs(network: Any, side: int, rows: int, dtype: torch.dtype, device: torch.device) -> dict[str, torch.Tensor]:
    """What a denoiser is given for a step of so many rows, by its parameters' names."""
    config = network.config
    x = torch.randn(rows, config.in_channels, side, side, device=device).to(dtype, memory_format=torch.channels_last)
    level = torch.full((rows,), 500.0, device=device)
    if "joint_attention_dim" not in config:
        text = torch.randn(rows, CLIP_TOKENS, config.cross_attention_dim, device=device).to(dtype)
        return {"sample": x, "timestep": level, "encoder_hidden_states": text}
    text = torch.randn(rows, SD3_TOKENS, config.joint_attention_dim, device=device).to(dtype)
    pooled = torch.randn(rows, config.pooled_projection_dim, device=device).to(dtype)
    return {"hidden_states": x, "timestep": level, "encoder_hidden_states": text, "pooled_projections": pooled}


def work(denoiser: Denoiser, rows: int) -> float:
    """Floating-point operations of one step, counted without doing them."""
    meta = torch.device("meta")
    network = on_meta(denoiser.class_name, denoiser.config).to(torch.bfloat16)
    with FlopCounterMode(display=False) as counter:
        run_eagerly(network, **inputs(network, denoiser.side, rows, torch.bfloat16, meta))
    return float(counter.get_total_flops())
