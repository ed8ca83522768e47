"""A recipe: everything that is needed to make an image again, stored in the image's own file, in two notations."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields, replace
from typing import Any

from tintype import __version__
from tintype.catalog.loras import STRONGEST, read_loras
from tintype.catalog.samples import sample_path
from tintype.core import GenerationParams, InputImage
from tintype.errors import BadPicture
from tintype.media.decoder import Decoded
from tintype.worker.models import LoadedModel

#: Beyond what any model of the catalogue takes: pixels of a side, steps.
MOST_PIXELS, MOST_STEPS = 4096, 1000


@dataclass(frozen=True)
class Recipe:
    """How one picture was made; what a request for several holds of each."""

    model: str
    #: The order for this picture alone. Its `image` is a sample's path or empty: a caller's own is not passed on.
    order: GenerationParams
    #: Fingerprint of the weights.
    weights: str
    #: Arithmetic of the model: float32 or bfloat16.
    dtype: str
    #: Rows of T5 text, which are part of the model.
    t5_tokens: int
    #: SHA-256 of the decoded input picture (`images.digest`), empty for text-to-image.
    source: str
    version: str = __version__

    def of(self, seed: int) -> Recipe:
        """The recipe of the request's picture with this seed."""
        return replace(self, order=replace(self.order, seed=seed))

    def json(self) -> dict[str, Any]:
        """As it is written into files and answers."""
        said = {one.name: getattr(self, one.name) for one in fields(self)}
        return said | {"order": self.order.to_json()}

    def text(self) -> str:
        """The same as one line."""
        return json.dumps(self.json(), ensure_ascii=False)

    @classmethod
    def read(cls, text: str) -> Recipe:
        """From a file's text; raises BadPicture when it is no recipe, or another version's."""
        try:
            said = json.loads(text)
            found = cls(**{**said, "order": GenerationParams.from_json(said["order"])})
            _check(found)
        except (ValueError, TypeError, KeyError) as error:
            raise BadPicture("the picture carries no recipe that this version of tintype can read") from error
        return found


def _check(found: Recipe) -> None:
    """Raise ValueError or TypeError unless it could be ours: a file may come from anywhere, and ask for anything."""
    order = found.order
    whole = (order.steps, order.seed, order.count, order.width, order.height, found.t5_tokens)
    texts = (order.prompt, order.negative_prompt, order.source, order.sampler, order.schedule, order.loras)
    words = (*texts, found.model, found.source)
    if not all(type(number) is int for number in whole) or not all(isinstance(word, str) for word in words):
        raise TypeError
    if not all(abs(strength) <= STRONGEST for _, strength in read_loras(order.loras)):
        raise ValueError
    small = max(order.width, order.height) <= MOST_PIXELS and 1 <= order.steps <= MOST_STEPS
    if order.source != (sample_path(order.source) or ""):
        raise ValueError
    if order.count != 1 or not small or found.dtype not in ("float32", "bfloat16") or not 0 < found.t5_tokens <= 512:
        raise ValueError


def recipe(model: str, order: GenerationParams, source: Decoded | None, loaded: LoadedModel) -> Recipe:
    """The recipe of a request with this input image; `of` then gives that of each of its pictures."""
    sample = sample_path(order.source)
    own = replace(order, count=1, base64=False, inputs=(InputImage(sample),) if sample else ())
    digest = source.digest if source else ""
    return Recipe(model, own, loaded.fingerprint, loaded.dtype, loaded.t5_tokens, digest)


#: Our samplers' names → theirs; a sampler that they don't have keeps its own.
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
#: Beginnings of lines that mean something to those who read it.
MEANING = re.compile(r"^(?=\s*(?:Negative prompt:|Steps: ))", re.MULTILINE)
#: Makes them plain text, and is not seen (a zero-width space).
UNSEEN = "\u200b"


def infotext(recipe: Recipe, size: tuple[int, int]) -> str:
    """The prompt, the negative prompt and a line of settings; `size` is the picture's width and height in pixels."""
    negative = recipe.order.negative_prompt
    lines = [_prompt(recipe.order.prompt), *([NEGATIVE + _prompt(negative)] if negative.strip() else [])]
    return "\n".join([*lines, _settings(recipe, size)])


def _prompt(text: str) -> str:
    """Whatever stands in a prompt must not be taken for what stands behind it."""
    return MEANING.sub(UNSEEN, "\n".join(text.strip().splitlines()))


def _settings(recipe: Recipe, size: tuple[int, int]) -> str:
    order = recipe.order
    karras = "Karras" if order.sampler.endswith(" Karras") else ""
    said = {
        "Steps": order.steps,
        "Sampler": SAMPLERS.get(order.sampler, order.sampler),
        "Schedule type": SCHEDULES.get(order.schedule, order.schedule) or karras,
        "CFG scale": f"{order.guidance:g}",
        "Seed": order.seed,
        "Size": f"{size[0]}x{size[1]}",
        # No "Model hash": sites look files up by it, and a fingerprint of ours is no file's hash.
        "Model": recipe.model,
        "Denoising strength": f"{order.strength:g}" if recipe.source else "",
        "LoRAs": order.loras,
        "Version": f"tintype {recipe.version}",
    }
    return ", ".join(f"{name}: {_quoted(str(value))}" for name, value in said.items() if value != "")


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if re.search(r"[,:\n\"]", value) else value
