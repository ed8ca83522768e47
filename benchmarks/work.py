"""The work that is measured: the same SD 1.5 requests for our engine and for diffusers' own pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import StableDiffusionImg2ImgPipeline
from PIL import Image
from tests.toy_weights import image_spec

from tintype.core import ImageSpec
from tintype.diffusion.image_state import Family
from tintype.diffusion.samplers.schedulers import scheduler_class
from tintype.engine import Engine
from tintype.samplers import SCHEDULERS
from tintype.worker.plan import to_tensor

SIDE = 256


@dataclass
class Done:
    """What a run made, and how often it asked the model."""

    pictures: list[np.ndarray]
    forward_passes: int


def source() -> Image.Image:
    """An input picture, the same in every run."""
    return Image.effect_mandelbrot((SIDE, SIDE), (-2, -1.5, 1, 1.5), 60).convert("RGB")


@cache
def init() -> torch.Tensor:
    """It as a model takes it."""
    return to_tensor(source())


def mixed_jobs(count: int) -> list[ImageSpec]:
    """Requests that differ in everything but their size: schedulers, steps, strengths, guidance, prompts, seeds."""
    return [
        image_spec(
            prompt=f"picture {index} of a fox",
            negative_prompt="blurry",
            steps=20 + 3 * (index % 4),
            guidance=(7.5, 4.0, 1.0)[index % 3],
            strength=(0.75, 0.5, 1.0, 0.6)[index % 4],
            seed=index,
            sampler=[*SCHEDULERS][index % len(SCHEDULERS)],
            width=SIDE,
            height=SIDE,
            init=True,
        )
        for index in range(count)
    ]


def ours(family: Family, jobs: list[ImageSpec]) -> Done:
    """All jobs together in one engine."""
    engine = Engine(max_rows=32)
    with torch.inference_mode():
        pictures = [family.begin(job, init()) for job in jobs]
        for picture in pictures:
            engine.add(picture)
        while engine.live:
            engine.step()
        made = [
            family.autoencoder.decode(picture.latents).numpy() for picture in pictures if picture.latents is not None
        ]
    return Done(made, engine.forward_passes)


class Pipeline:
    """diffusers' own, one request after the other."""

    def __init__(self, folder: Path) -> None:
        parts = dict.fromkeys(("safety_checker", "feature_extractor", "image_encoder"))
        self.pipe: Any = StableDiffusionImg2ImgPipeline.from_pretrained(folder, requires_safety_checker=False, **parts)
        self.pipe.set_progress_bar_config(disable=True)
        self.config = self.pipe.scheduler.config

    def __call__(self, jobs: list[ImageSpec]) -> Done:
        """The jobs' pictures."""
        self.calls = 0
        handle = self.pipe.unet.register_forward_pre_hook(self._count)
        made = [self._draw(job) for job in jobs]
        handle.remove()
        return Done(made, self.calls)

    def _count(self, *_: object) -> None:
        self.calls += 1

    def _draw(self, job: ImageSpec) -> np.ndarray:
        name = job.params.sampler
        self.pipe.scheduler = scheduler_class(name).from_config(self.config, **SCHEDULERS[name].settings)
        made = self.pipe(
            prompt=job.params.prompt,
            negative_prompt=job.params.negative_prompt,
            image=source(),
            num_inference_steps=job.params.steps,
            guidance_scale=job.params.guidance,
            strength=job.params.strength,
            generator=torch.Generator().manual_seed(job.seed),
        )
        return np.array(made.images[0])
