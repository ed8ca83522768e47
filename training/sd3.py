"""The SD 3 type of denoiser: SD3Transformer2DModel as a rectified flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from transformers import CLIPTextModelWithProjection

from training import autoencoder, sheets, text, tokenizer
from training.hyper import LONGER, PROMPTS, SEED, TextEncoder, Transformer
from training.latents import Data, Texts
from training.run import Run
from training.sheets import save_images
from training.sources import work

#: The folder of the transformer that has seen all of its training.
LONG = "sd3-longer"


def new_model(channels: int = 16) -> SD3Transformer2DModel:
    """The transformer, untrained."""
    recipe = Transformer()
    return SD3Transformer2DModel(
        sample_size=32,
        patch_size=2,
        in_channels=channels,
        out_channels=channels,
        num_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        attention_head_dim=recipe.width // recipe.heads,
        joint_attention_dim=2 * TextEncoder.width,
        caption_projection_dim=recipe.width,
        pooled_projection_dim=2 * TextEncoder.width,
        pos_embed_max_size=32,
        qk_norm="rms_norm",
    )


def train() -> None:
    """Train the transformer and write its folder, `sd3`."""
    torch.manual_seed(SEED)
    _optimise(new_model(), Transformer(), "sd3")


def train_longer() -> None:
    """Train it further, from its average and at a lower rate: `sd3-longer`."""
    torch.manual_seed(SEED + 1)
    _optimise(SD3Transformer2DModel.from_pretrained(work("sd3")).train(), replace(Transformer(), **LONGER), LONG)


def _optimise(model: SD3Transformer2DModel, recipe: Transformer, name: str) -> None:
    data, compiled = Data("sd3"), torch.compile(model)

    def look(tag: str) -> dict[str, Any]:
        save_images(draw(model, data, PROMPTS), work("sheets", f"{tag}.png"), columns=8)
        return {}

    run = Run(name, model, _optimisers(model, recipe), recipe.steps, average=0.998, look=look)
    for _ in run:
        clean, texts = data.draw(recipe.batch)
        noise, times, zeros = torch.randn_like(clean), draw_times(recipe.batch), draw_zeros()
        # Rare shapes aren't worth their compilation.
        usual = zeros == recipe.zeros[0] and clean.shape[-1] == clean.shape[-2]
        velocity = predict(compiled if usual else model, mix(clean, noise, times), times, texts, zeros)
        run.descend((velocity - (noise - clean)).pow(2).mean())
    run.show()
    run.averaged().save_pretrained(work(name))


def _optimisers(model: torch.nn.Module, recipe: Transformer) -> list[torch.optim.Optimizer]:
    """Muon (Jordan 2024) for the matrices inside the blocks, AdamW for the rest."""
    named = list(model.named_parameters())
    inner = {name for name, value in named if value.ndim == 2 and "transformer_blocks" in name and "norm" not in name}
    matrices = [value for name, value in named if name in inner]
    rest = [value for name, value in named if name not in inner]
    return [
        torch.optim.Muon(
            matrices,
            lr=recipe.matrix_rate,
            momentum=0.95,
            weight_decay=0.01,
            ns_steps=recipe.newton_schulz,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(rest, lr=recipe.rate, betas=(0.9, 0.95), weight_decay=0),
    ]


def draw_times(count: int) -> torch.Tensor:
    """Times in (0, 1), (count,): 1 is noise."""
    recipe = Transformer()
    return torch.sigmoid(torch.randn(count) * recipe.time_deviation + recipe.time_mean)


def draw_zeros() -> int:
    """How many rows of zeros stand in T5's place this time."""
    recipe = Transformer()
    return recipe.zeros[int(torch.multinomial(torch.tensor(recipe.zeros_weights), 1))]


def mix(clean: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """The point of the straight line from clean (N, C, h, w) to noise at these times (N,)."""
    times = times.view(-1, 1, 1, 1)
    return (1 - times) * clean + times * noise


def predict(model: Any, x: torch.Tensor, times: torch.Tensor, texts: Texts, zeros: int) -> torch.Tensor:
    """The velocity at x (N, C, h, w)."""
    padding = torch.zeros(len(x), zeros, texts.penultimate.shape[-1])
    return model(
        hidden_states=x,
        encoder_hidden_states=torch.cat([texts.penultimate, padding], 1),
        pooled_projections=texts.pooled,
        timestep=times * 1000,
        return_dict=False,
    )[0]


def pipeline(
    model: SD3Transformer2DModel, scale: float, shift: float, encoders: Sequence[str] = text.NAMES
) -> StableDiffusion3Pipeline:
    """Everything in one diffusers pipeline."""
    tokens, vae = tokenizer.load(), autoencoder.load("sd3")
    vae.register_to_config(scaling_factor=scale, shift_factor=shift)
    first, second = (CLIPTextModelWithProjection.from_pretrained(work(name)).eval() for name in encoders)
    made = StableDiffusion3Pipeline(
        transformer=model,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=Transformer.shift),
        vae=vae,
        text_encoder=first,
        text_encoder_2=second,
        text_encoder_3=None,
        tokenizer=tokens,
        tokenizer_2=tokens,
        tokenizer_3=None,
    )
    made.set_progress_bar_config(disable=True)
    return made


def draw(
    model: SD3Transformer2DModel, data: Data, prompts: tuple[str, ...], steps: int = 20, guidance: float = 3.0
) -> list[Any]:
    """One picture per prompt, each with its place in the list as its seed."""
    made = pipeline(model, data.scale, data.shift)
    return sheets.draw(made, prompts, steps, guidance, max_sequence_length=Transformer.zeros[0])
