"""All figures of the shipped weights, and the promises that they are held to."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from tintype.catalog.models import MODELS
from tintype.catalog.samples import sample_path
from tintype.catalog.spec import ModelSpec
from tintype.checkpoints.weights import has_builtin
from tintype.core import GenerationParams, ImageSpec, Role
from tintype.media import samples
from tintype.media.scaling import output_size
from tintype.worker.models import LoadedModel, ModelPool
from tintype.worker.plan import image_specs
from training import quality
from training.hyper import SIZE
from training.quality import Asked, Way

#: The families' modes, each with the steps and the guidance that its figures of image to image are measured with.
WAYS = {
    "sd3": Way("dpmpp_2m", "sgm_uniform", 20, guidance=5.0),
    "turbo": Way("euler", "sgm_uniform", 4, guidance=1.0),
    "sd15": Way("DDIM", "", 20, guidance=7.5),
}
SLUGS = {"sd3": "sd3-med-img2img", "turbo": "stable-diffusion-3.5-turbo-txt2img", "sd15": "sd1.5-img2img"}
#: Every model that has built-in weights.
BUILTIN = {slug: spec for slug, spec in MODELS.items() if has_builtin(spec.family, few_steps=spec.few_steps)}


@dataclass(frozen=True)
class Defaults:
    """Of images that a model draws where a caller sends a prompt alone, and an image where it needs one."""

    recognised: float
    coloured: float
    #: Mean distance to the thing on its background.
    distance: float
    #: Mean share of the pixels of those on a colour that have a channel at one of its ends.
    clipped: float


@dataclass(frozen=True)
class Figures:
    """Of one mode."""

    #: Distance to the input and to the prompt at each strength.
    pull: list[tuple[float, float]]
    psnr: float


#: Shares of 100, and dB.
PROMISED = {"recognised": 0.9, "coloured": 0.9}
PROMISED_PSNR = {"sd3": 30.0, "turbo": 30.0, "sd15": 28.0}


def load(slug: str) -> LoadedModel:
    """A shipped model in float32 on the CPU, loaded as a worker loads it."""
    return ModelPool("cpu", "float32", t5_tokens=256, own={}).get(MODELS[slug], torch.float32)


def at_defaults(slug: str, count: int = 100) -> Defaults:
    """Draw the first `count` questions with a model's default parameters and measure the images: half a minute."""
    loaded, asked = load(slug), quality.questions()[:count]
    images = draw_defaults(loaded, MODELS[slug], asked)
    pairs = list(zip(images, asked, strict=True))
    return Defaults(
        quality.recognised(images, asked),
        quality.coloured(images, asked),
        float(np.mean([quality.distances(image, one.background)[one.number] for image, one in pairs])),
        float(np.mean([quality.clipped(image) for image, one in pairs if one.colour])),
    )


def draw_defaults(loaded: LoadedModel, spec: ModelSpec, asked: Sequence[Asked]) -> list[Image.Image]:
    """Each question's image."""

    def job(one: Asked) -> tuple[ImageSpec, Mapping[Role, torch.Tensor]]:
        params = spec.parse(body(spec, one)).params
        inputs = input_images(params, one)
        size = output_size(params.width, params.height, inputs["init"].size if inputs else None)
        [image], tensors = image_specs(params, inputs, size, loaded.native_size)
        return image, tensors

    return quality.run(loaded.family, map(job, asked))


def body(spec: ModelSpec, asked: Asked) -> dict[str, object]:
    """What a caller must send, the images being the example's, and a seed, so that figures can be measured again."""
    needed = {param.name: spec.example[param.name] for param in spec.parameters if param.required}
    return {**needed, "prompt": asked.prompt, "seed": asked.seed}


def input_images(params: GenerationParams, asked: Asked) -> Mapping[Role, Image.Image]:
    """The samples; where a mask is needed, the empty background, of which all but the edge is repainted.

    (Within the sample's mask there is no room for all of a thing, and around it another background than was asked for.)
    """
    roles = {one.role: one.source for one in params.inputs}
    if "mask" in roles:
        mask = Image.new("RGB", (SIZE, SIZE))
        mask.paste("white", (quality.EDGE, quality.EDGE, SIZE - quality.EDGE, SIZE - quality.EDGE))
        return {"init": Image.new("RGB", (SIZE, SIZE), asked.background), "mask": mask}
    drawn = {role: samples.draw(sample_path(source) or "") for role, source in roles.items()}
    return {role: Image.open(io.BytesIO(image)).convert("RGB") for role, image in drawn.items()}


def figures(name: str, most_steps: int = 20, count: int = 12) -> Figures:
    """Measure one of the modes, in its own number of steps or `most_steps`, with so many images of each strength."""
    family, way = load(SLUGS[name]).family, replace(WAYS[name], steps=min(WAYS[name].steps, most_steps))
    return Figures(quality.pull(family, way, count), quality.psnr(family))
