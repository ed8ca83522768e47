"""What a request is going to make, planned before its weights are on the device; and its recipe, to make it again.

A file carries its recipe twice: for this server, and in A1111's words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from tintype.catalog.parameters import STRONGEST, read_loras
from tintype.catalog.samples import sample_path
from tintype.core import GenerationParams, ImageSpec, InputImage, Json, Recipe, Size
from tintype.diffusion.image_state import Family, ImageState
from tintype.diffusion.memory.component import MemoryEstimate
from tintype.errors import BadPicture
from tintype.media.decoder import Decoded
from tintype.media.scaling import fit, native_size, output_size, resize
from tintype.running import RunningRequest
from tintype.worker.models import LoadedModel, ModelPool


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
    #: Of all the images; `Recipe.of` gives each one's.
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
    recipe = Recipe(
        model=slug,
        params=replace(params, count=1, base64=False, inputs=_samples(params)),
        weights=loaded.fingerprint,
        dtype=loaded.dtype,
        t5_tokens=loaded.t5_tokens,
        source=source.digest if source else "",
    )
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


def _samples(params: GenerationParams) -> tuple[InputImage, ...]:
    """The input images that a recipe names: a caller's own are not passed on."""
    sample = sample_path(params.init.source) if params.init else None
    return (InputImage(sample),) if sample else ()


# The recipe as JSON, for this server

#: Beyond what any model of the catalogue takes: pixels of a side, steps.
MAX_PIXELS, MAX_STEPS = 4096, 1000


def notes(recipe: Recipe, size: Size) -> tuple[str, str]:
    """What an image's file says of how it was made: the recipe as JSON in one line, and in A1111's words."""
    return json.dumps(recipe.to_json(), ensure_ascii=False), infotext(recipe, size)


def read_recipe(text: str) -> Recipe:
    """From a file's note; raises BadPicture for what is no recipe, or has fields of a later version."""
    try:
        said = json.loads(text)
        found = Recipe.from_json(said)
        _check_names(said, found.to_json())
        _check(found)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadPicture("the image carries no recipe that this version of tintype can read") from error
    return found


def _check_names(said: Json, known: Json) -> None:
    """Raise ValueError for fields that this version doesn't know: the image depends on them."""
    if not (said.keys() <= known.keys() and said["order"].keys() <= known["order"].keys()):
        raise ValueError


def _check(found: Recipe) -> None:
    """Raise ValueError or TypeError unless it could be ours: a file may come from anywhere, and ask for anything."""
    params = found.params
    numbers = (params.steps, params.seed, params.count, params.width, params.height, found.t5_tokens)
    texts = (params.prompt, params.negative_prompt, params.source, params.sampler, params.schedule, params.loras)
    words = (*texts, found.model, found.source)
    if not all(type(number) is int for number in numbers) or not all(isinstance(word, str) for word in words):
        raise TypeError
    if not all(abs(strength) <= STRONGEST for _, strength in read_loras(params.loras)):
        raise ValueError
    small = max(params.width, params.height) <= MAX_PIXELS and 1 <= params.steps <= MAX_STEPS
    if params.inputs != _samples(params):
        raise ValueError
    if params.count != 1 or not small or found.dtype not in ("float32", "bfloat16") or not 0 < found.t5_tokens <= 512:
        raise ValueError


# The recipe in A1111's words

#: Our samplers' names → theirs; a sampler that they don't have keeps our name.
SAMPLERS = {
    "euler": "Euler",
    "euler_ancestral": "Euler a",
    "heun": "Heun",
    "dpm_2": "DPM2",
    "dpm_2_ancestral": "DPM2 a",
    "lms": "LMS",
    "dpm_fast": "DPM fast",
    "dpm_adaptive": "DPM adaptive",
    "dpmpp_2s_ancestral": "DPM++ 2S a",
    "dpmpp_sde": "DPM++ SDE",
    "dpmpp_sde_gpu": "DPM++ SDE",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_2m_sde_gpu": "DPM++ 2M SDE",
    "dpmpp_3m_sde": "DPM++ 3M SDE",
    "dpmpp_3m_sde_gpu": "DPM++ 3M SDE",
    "lcm": "LCM",
    "ddim": "DDIM",
    "uni_pc": "UniPC",
    "uni_pc_bh2": "UniPC",
    "DPM Multi": "DPM++ 2M",
    "DPM2 a Karras": "DPM2 a",
    "DPM2 Karras": "DPM2",
    "PNDM": "PLMS",
}
SCHEDULES = {
    "normal": "Normal",
    "karras": "Karras",
    "exponential": "Exponential",
    "sgm_uniform": "SGM Uniform",
    "simple": "Simple",
    "ddim_uniform": "DDIM",
    "beta": "Beta",
}
NEGATIVE = "Negative prompt: "
#: Beginnings of lines that mean something to readers of the note.
MEANING = re.compile(r"^(?=\s*(?:Negative prompt:|Steps: ))", re.MULTILINE)
#: Makes them plain text; invisible (a zero-width space).
UNSEEN = "\u200b"


def infotext(recipe: Recipe, size: Size) -> str:
    """The prompt, the negative prompt and a line of settings; `size` is the image's width and height in pixels."""
    params, negative = recipe.params, recipe.params.negative_prompt
    lines = [_prompt(params.prompt), *([NEGATIVE + _prompt(negative)] if negative.strip() else [])]
    karras = "Karras" if params.sampler.endswith(" Karras") else ""
    said = {
        "Steps": params.steps,
        "Sampler": SAMPLERS.get(params.sampler, params.sampler),
        "Schedule type": SCHEDULES.get(params.schedule, params.schedule) or karras,
        "CFG scale": f"{params.guidance:g}",
        "Seed": params.seed,
        "Size": f"{size[0]}x{size[1]}",
        # No "Model hash": sites look files up by it, and a fingerprint of ours is no file's hash.
        "Model": recipe.model,
        "Denoising strength": f"{params.strength:g}" if recipe.source else "",
        "LoRAs": params.loras,
        "Version": f"tintype {recipe.version}",
    }
    settings = [f"{name}: {_quoted(str(value))}" for name, value in said.items() if value != ""]
    return "\n".join([*lines, ", ".join(settings)])


def _prompt(text: str) -> str:
    """Nothing in a prompt may be taken for the lines after it."""
    return MEANING.sub(UNSEEN, "\n".join(text.strip().splitlines()))


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if re.search(r"[,:\n\"]", value) else value
