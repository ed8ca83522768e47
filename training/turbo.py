"""The few-step mode of the SD 3 type: a LoRA with which one step without guidance is two of the teacher's with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from diffusers import SD3Transformer2DModel
from peft import LoraConfig

from training.hyper import PROMPTS, SEED, Transformer, Turbo
from training.latents import Data, Texts
from training.run import Run
from training.sd3 import LONG, draw, mix, predict
from training.sheets import save_images
from training.sources import work

Velocity = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def train() -> None:
    """Train the LoRA and write its file into the folder `turbo`."""
    recipe = Turbo()
    torch.manual_seed(SEED)
    data = Data("sd3")
    teacher = SD3Transformer2DModel.from_pretrained(work(LONG)).eval().requires_grad_(False)
    student = with_lora(SD3Transformer2DModel.from_pretrained(work(LONG)))
    trained = [value for value in student.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=recipe.rate, betas=(0.9, 0.95), weight_decay=0)

    def look(tag: str) -> dict[str, Any]:
        save_images(draw(student, data, PROMPTS, steps=4, guidance=1.0), work("sheets", f"{tag}.png"), columns=8)
        return {}

    run = Run("turbo", student, [optimiser], recipe.steps, average=0.99, look=look)
    zeros = Transformer.zeros[0]
    compiled = torch.compile(student), torch.compile(teacher)
    for _ in run:
        clean, texts = data.draw(recipe.batch)
        fast, slow = compiled if clean.shape[-1] == clean.shape[-2] else (student, teacher)
        times = draw_starts(recipe.batch)
        x = mix(clean, torch.randn_like(clean), times)
        with torch.no_grad():
            wanted = long_step(guided(slow, texts, data.empty(recipe.batch), zeros), x, times)
        run.descend((predict(fast, x, times, texts, zeros) - wanted).pow(2).mean())
    run.show()
    run.averaged().save_lora_adapter(work("turbo"))


def with_lora(model: SD3Transformer2DModel) -> SD3Transformer2DModel:
    """The model with a LoRA on its matrices, the only thing about it that learns."""
    recipe = Turbo()
    model.requires_grad_(False)
    model.add_adapter(LoraConfig(r=recipe.rank, lora_alpha=recipe.rank, target_modules=list(recipe.targets)))
    return model


def draw_starts(count: int) -> torch.Tensor:
    """Times at which a student's step begins, (count,): half of them those of four even steps."""
    even = 1 - torch.randint(4, (count,)) * Turbo.stride
    anywhere = 0.02 + 0.98 * torch.rand(count)
    return torch.where(torch.rand(count) < 0.5, even, anywhere)


def long_step(velocity: Velocity, x: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """The mean velocity over a student's step: the teacher's at its middle (the midpoint method)."""
    half = torch.clamp(times, max=Turbo.stride) / 2
    middle = x - half.view(-1, 1, 1, 1) * velocity(x, times)
    return velocity(middle, times - half)


def guided(model: Any, texts: Texts, empty: Texts, zeros: int) -> Velocity:
    """The teacher's velocity with classifier-free guidance (Ho & Salimans 2022)."""
    both = Texts(*(torch.cat([getattr(texts, part.name), getattr(empty, part.name)]) for part in fields(Texts)))

    def velocity(x: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        conditional, unconditional = predict(model, x.repeat(2, 1, 1, 1), times.repeat(2), both, zeros).chunk(2)
        return unconditional + Turbo.guidance * (conditional - unconditional)

    return velocity
