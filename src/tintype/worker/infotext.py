"""A recipe in the words of A1111's web UI, which other programs and Civitai read from a picture's file."""

from __future__ import annotations

import json
import re

from tintype.worker.recipe import Recipe

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
