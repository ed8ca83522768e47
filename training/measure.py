"""All figures of the shipped weights, and the promises that they are held to."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from tintype.catalog.models import MODELS
from tintype.diffusion.image_state import Family
from tintype.worker.models import ModelPool
from training import quality
from training.quality import Way

#: What is measured, and how it is drawn: the models' own samplers and step counts.
WAYS = {
    "sd3": Way("dpmpp_2m", "sgm_uniform", 20, guidance=5.0, gentle=5.0),
    "turbo": Way("euler", "sgm_uniform", 4, guidance=1.0, gentle=1.0),
    "sd15": Way("DDIM", "", 20, guidance=7.5, gentle=1.5),
}
SLUGS = {"sd3": "sd3-med-img2img", "turbo": "stable-diffusion-3.5-turbo-txt2img", "sd15": "sd1.5-img2img"}


@dataclass(frozen=True)
class Figures:
    """One model's."""

    recognised: float
    coloured: float
    #: Distance to the input and to the prompt at each strength.
    pull: list[tuple[float, float]]
    psnr: float


#: Shares of 100, and dB.
PROMISED = {
    "sd3": {"recognised": 0.85, "coloured": 0.9, "psnr": 30.0},
    "turbo": {"recognised": 0.85, "coloured": 0.9, "psnr": 30.0},
    "sd15": {"recognised": 0.75, "coloured": 0.9, "psnr": 28.0},
}


def load(name: str) -> Family:
    """A shipped model in float32 on the CPU, loaded as a worker loads it."""
    models = ModelPool("cpu", "float32", t5_tokens=256, own={})
    spec = MODELS[SLUGS[name]]
    return models.get(spec, torch.float32).family


def figures(name: str, most_steps: int = 20, count: int = 100) -> Figures:
    """Measure one of them by the first `count` questions, drawn in its own number of steps or `most_steps`: minutes."""
    family, way = load(name), replace(WAYS[name], steps=min(WAYS[name].steps, most_steps))
    asked = quality.questions()[:count]
    pictures = quality.draw(family, asked, way)
    return Figures(
        quality.recognised(pictures, asked),
        quality.coloured(pictures, asked),
        quality.pull(family, way),
        quality.psnr(family),
    )
