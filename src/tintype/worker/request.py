"""What a running request is going to make, planned before its weights are on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from tintype.catalog.parameters import read_loras
from tintype.core import GenerationParams, ImageSpec, Recipe, Size
from tintype.diffusion.image_state import Family, ImageState
from tintype.diffusion.memory.component import MemoryEstimate
from tintype.media.decoder import Decoded
from tintype.media.scaling import fit, native_size, output_size, resize
from tintype.running import RunningRequest
from tintype.worker.models import LoadedModel, ModelPool
from tintype.worker.recipe import make_recipe


@dataclass(frozen=True)
class Plan:
    """What a request is going to make, and what that takes."""

    loaded: LoadedModel
    #: One per image; they differ in their seeds alone.
    specs: Sequence[ImageSpec]
    #: (1, 3, height, width) in [-1, 1]; None for text to image.
    init: torch.Tensor | None
    #: For each of the images.
    estimate: MemoryEstimate
    #: Width and height of the files; the weights may draw at another size.
    size: Size
    recipe: Recipe
    #: What the caller should know of what was asked.
    warnings: Sequence[str]


Running = RunningRequest[Plan, ImageState, torch.Tensor]


def plan(one: Running, models: ModelPool) -> Plan:
    """The plan of a request whose input image was fetched.

    Raises what fetching raised, WeightsUnusable, and InvalidParameter for a LoRA that the model doesn't offer.
    """
    source, params, slug = one.fetched.result(), one.params, one.request.slug
    dtype = torch.float32 if one.in_float32 else None
    loaded = models.get(models.catalogue.find(slug), dtype, read_loras(params.loras))
    return make_plan(loaded, slug, params, source)


def make_plan(loaded: LoadedModel, slug: str, params: GenerationParams, source: Decoded | None) -> Plan:
    """Of parameters and their input image, with or without a queue."""
    image = source.image if source else None
    size = output_size(params.width, params.height, image.size if image else None)
    specs, init = image_specs(params, image, size, loaded.native_size)
    estimate = loaded.family.estimate(specs[0])
    recipe = make_recipe(slug, params, source, loaded)
    return Plan(loaded, specs, init, estimate, size, recipe, unread_text(loaded.family, params))


def image_specs(
    params: GenerationParams, image: Image.Image | None, size: Size, native: int | None
) -> tuple[list[ImageSpec], torch.Tensor | None]:
    """One per image, at the size that the weights draw for files of this size; and the tensor of the init image."""
    width, height = native_size(*size, native) if native else size
    # Fitted to the result's shape first: what shrinking to the drawn one distorts, enlarging the result sets right.
    init = None if image is None else to_tensor(resize(fit(image, *size), width, height))
    return [ImageSpec(params, seed, width, height) for seed in params.seeds], init


def unread_text(family: Family, params: GenerationParams) -> list[str]:
    """A warning for each text that is longer than the model reads."""
    texts = {"prompt": params.prompt, "negative_prompt": params.negative_prompt if params.has_negative else ""}
    lengths = {name: family.lengths(text) for name, text in texts.items()}
    return [
        f"{name}: the model reads the first {one.read} of its {one} tokens; what comes after them made no difference"
        for name, one in lengths.items()
        if one.read < one.sent
    ]


def to_tensor(image: Image.Image) -> torch.Tensor:
    """RGB → (1, 3, height, width) float32 in [-1, 1]."""
    pixels = torch.from_numpy(np.array(image, dtype=np.float32) / 255.0)
    return 2.0 * pixels.permute(2, 0, 1)[None] - 1.0
