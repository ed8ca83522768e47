"""What a request is going to make, planned before its weights are on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from tintype.catalog.parameters import read_loras
from tintype.catalog.recipe import sample_inputs
from tintype.core import GenerationParams, ImageSpec, Recipe, Role, Size
from tintype.diffusion.image_state import Family, ImageState
from tintype.diffusion.memory.component import MemoryEstimate
from tintype.errors import BadPicture
from tintype.media.decoder import Decoded
from tintype.media.provenance.source import Origin
from tintype.media.scaling import fit, native_size, output_size, resize
from tintype.running import RunningRequest
from tintype.worker.models import LoadedModel, ModelPool


@dataclass(frozen=True)
class Plan:
    """What a request is going to make, and what that takes."""

    loaded: LoadedModel
    #: One per image; they differ in their seeds alone.
    specs: Sequence[ImageSpec]
    #: By role, in the size of the specs: init (1, 3, height, width) in [-1, 1]; mask (1, 1, height, width) of 0 and 1.
    inputs: Mapping[Role, torch.Tensor]
    #: For each of the images.
    estimate: MemoryEstimate
    #: Width and height of the files; the weights may draw at another size.
    size: Size
    #: Of all the images; `Recipe.of` gives each one's.
    recipe: Recipe
    #: What their files say of their making, without the recipe.
    origin: Origin
    #: What the caller should know of what was asked.
    warnings: Sequence[str]

    def begin(self) -> list[ImageState]:
        """The images, each with its first question; raises what `Family.begin` does."""
        init, mask = self.inputs.get("init"), self.inputs.get("mask")
        return [self.loaded.family.begin(spec, init, mask) for spec in self.specs]


Running = RunningRequest[Plan, ImageState, torch.Tensor]


def plan(one: Running, models: ModelPool) -> Plan:
    """The plan of a request whose input images were fetched.

    Raises what fetching raised, WeightsUnusable, and InvalidParameter for a LoRA or a refiner that the model hasn't.
    """
    inputs, params, slug = one.fetched.result(), one.params, one.request.slug
    dtype = torch.float32 if one.in_float32 else None
    loaded = models.get(models.catalogue.find(slug), dtype, read_loras(params.loras), refined=params.refiner)
    return make_plan(loaded, slug, params, inputs)


def make_plan(loaded: LoadedModel, slug: str, params: GenerationParams, inputs: Mapping[Role, Decoded]) -> Plan:
    """Of parameters and their input images, with or without a queue; raises BadPicture for a mask without white."""
    images = {role: one.image for role, one in inputs.items()}
    size = output_size(params.width, params.height, images["init"].size if images else None)
    specs, tensors = image_specs(params, images, size, loaded.native_size)
    if "mask" in tensors:
        _check_mask(tensors["mask"], loaded.family)
    estimate = loaded.family.estimate(specs[0])
    recipe = Recipe(
        model=slug,
        params=replace(params, count=1, base64=False, checkpoint="", canvas=False, inputs=sample_inputs(params)),
        weights=loaded.fingerprint,
        dtype=loaded.dtype,
        t5_tokens=loaded.t5_tokens,
        source=_digest(inputs, "init"),
        mask=_digest(inputs, "mask"),
    )
    origin = Origin.of(slug, params, inputs["init"].carrier if inputs else None)
    return Plan(loaded, specs, tensors, estimate, size, recipe, origin, unread_text(loaded.family, params))


def image_specs(
    params: GenerationParams, inputs: Mapping[Role, Image.Image], size: Size, native: int | None
) -> tuple[list[ImageSpec], Mapping[Role, torch.Tensor]]:
    """One per image, at the size that the weights draw for files of this size; and the tensors of the input images."""
    width, height = native_size(*size, native) if native else size
    # Fitted to the result's shape first: what shrinking to the drawn one distorts, enlarging the result sets right.
    fitted = {role: resize(fit(image, *size), width, height) for role, image in inputs.items()}
    tensors = {role: to_mask(image) if role == "mask" else to_tensor(image) for role, image in fitted.items()}
    return [ImageSpec(params, seed, width, height) for seed in params.seeds], tensors


def _digest(inputs: Mapping[Role, Decoded], role: Role) -> str:
    return inputs[role].digest if role in inputs else ""


def _check_mask(mask: torch.Tensor, family: Family) -> None:
    """Raise BadPicture where the mask would have nothing repainted: the caller isn't charged for the image sent."""
    height, width = mask.shape[-2:]
    latents = height // family.autoencoder.factor, width // family.autoencoder.factor
    if not interpolate(mask, size=latents).any():
        drawn = f"at the size that is drawn, {width}×{height}"
        raise BadPicture(f"mask: nothing of it is white {drawn}; white is repainted, black or transparent is kept")


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


def to_mask(image: Image.Image) -> torch.Tensor:
    """RGB → (1, 1, height, width) float32: 1 where it is nearer to white than to black, else 0."""
    return torch.from_numpy(np.array(image.convert("L")) >= 128).float()[None, None]
