"""A recipe: everything that is needed to make an image again, in the image's own file; and in A1111's words there."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from tintype.catalog.parameters import STRONGEST, read_loras
from tintype.catalog.samples import sample_path
from tintype.core import GenerationParams, InputImage, Json, Recipe, Size
from tintype.errors import BadPicture
from tintype.media.decoder import Decoded
from tintype.worker.models import LoadedModel

#: Beyond what any model of the catalogue takes: pixels of a side, steps.
MAX_PIXELS, MAX_STEPS = 4096, 1000
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


def make_recipe(model: str, params: GenerationParams, source: Decoded | None, loaded: LoadedModel) -> Recipe:
    """The recipe of a request with this input image; `Recipe.of` then gives that of each of its images."""
    return Recipe(
        model=model,
        params=replace(params, count=1, base64=False, inputs=_samples(params)),
        weights=loaded.fingerprint,
        dtype=loaded.dtype,
        t5_tokens=loaded.t5_tokens,
        source=source.digest if source else "",
    )


def _samples(params: GenerationParams) -> tuple[InputImage, ...]:
    """The input images that a recipe names: a caller's own are not passed on."""
    sample = sample_path(params.init.source) if params.init else None
    return (InputImage(sample),) if sample else ()


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
        raise BadPicture("the picture carries no recipe that this version of tintype can read") from error
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
