"""The SD 1.5 type of denoiser: UNet2DConditionModel with v-prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from training import autoencoder, text, tokenizer
from training.hyper import LONGER_UNET, PROMPTS, SCHEDULE_V, SEED, SIZE, TextEncoder, UNet
from training.latents import WIDE_TEXTS, Data
from training.run import Run
from training.sheets import draw, save_images
from training.sources import work

#: The folder of the UNet that has seen all of its training.
LONG = "sd15-longer"


def new_model(channels: int = 4) -> UNet2DConditionModel:
    """The UNet, untrained."""
    recipe = UNet()
    return UNet2DConditionModel(
        sample_size=SIZE // 8,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=recipe.channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=TextEncoder.width,
        attention_head_dim=recipe.heads,
        norm_num_groups=recipe.groups,
        # The text, pooled, beside the time: cross-attention alone takes several times as long to learn what is meant.
        addition_embed_type="text",
        addition_embed_type_num_heads=recipe.heads,
    ).to(memory_format=torch.channels_last)


def train() -> None:
    """Train the UNet and write its folder, `sd15`."""
    torch.manual_seed(SEED)
    _optimise(new_model(), UNet(), "sd15", Data("sd15"), text.NAMES)


def train_longer() -> None:
    """Train it further, from its average and with the encoders' second training: `sd15-longer`."""
    torch.manual_seed(SEED + 1)
    model = UNet2DConditionModel.from_pretrained(work("sd15")).train().to(memory_format=torch.channels_last)
    _optimise(model, replace(UNet(), **LONGER_UNET), LONG, Data("sd15", WIDE_TEXTS), text.WIDE)


def _optimise(model: UNet2DConditionModel, recipe: UNet, name: str, data: Data, encoders: Sequence[str]) -> None:
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.rate, betas=(0.9, 0.98), weight_decay=0.01)
    kept = DDIMScheduler(**SCHEDULE_V).alphas_cumprod

    def look(tag: str) -> dict[str, Any]:
        made = pipeline(model, data.scale, encoders)
        save_images(draw(made, PROMPTS), work("sheets", f"{tag}.png"), columns=8)
        return {}

    run = Run(name, model, [optimiser], recipe.steps, average=0.998, look=look)
    for _ in run:
        clean, texts = data.draw(recipe.batch)
        noise, times = torch.randn_like(clean), torch.randint(0, 1000, (recipe.batch,))
        alpha = kept[times].view(-1, 1, 1, 1)
        noisy = (alpha.sqrt() * clean + (1 - alpha).sqrt() * noise).contiguous(memory_format=torch.channels_last)
        predicted = model(noisy, times, texts.last, return_dict=False)[0]
        run.descend((predicted - (alpha.sqrt() * noise - (1 - alpha).sqrt() * clean)).pow(2).mean())
    run.show()
    run.averaged().save_pretrained(work(name))


def pipeline(model: UNet2DConditionModel, scale: float, encoders: Sequence[str]) -> StableDiffusionPipeline:
    """Everything in one diffusers pipeline."""
    vae = autoencoder.load("sd15")
    vae.register_to_config(scaling_factor=scale)
    made = StableDiffusionPipeline(
        unet=model,
        scheduler=DDIMScheduler(**SCHEDULE_V),
        vae=vae,
        text_encoder=CLIPTextModel.from_pretrained(work(encoders[0])).eval(),
        tokenizer=tokenizer.load(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made
