"""The parameters that several models have, the names of samplers and schedules, and LoRAs that a request may name."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from tintype.catalog.spec import MAX_SIDE, MIN_SIDE, MULTIPLE, Group, Kind, ModelSpec, Param, Value
from tintype.core import SEEDS, GenerationParams

#: Schedulers of `sd1.5-img2img`, under the names of the wire.
SD15_SCHEDULERS = (
    "DDIM",
    "DPM Multi",
    "DPM Single",
    "Euler a",
    "Euler",
    "Heun",
    "DPM2 a Karras",
    "DPM2 Karras",
    "LMS",
    "PNDM",
    "DDPM",
    "UniPC",
)
SAMPLERS = (
    "euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "heun", "heunpp2", "dpm_2",
    "dpm_2_ancestral", "lms", "dpm_fast", "dpm_adaptive", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_sde_gpu",
    "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm",
    "ipndm", "ipndm_v", "deis", "ddim", "uni_pc", "uni_pc_bh2",
)  # fmt: skip
#: Samplers that ask the model more than once a step, by either family's name: how often, but for the last steps.
EVALUATIONS = {
    **dict.fromkeys(("Heun", "DPM2 a Karras", "DPM2 Karras"), 2),
    **dict.fromkeys(("heun", "dpm_2", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_sde_gpu"), 2),
    "heunpp2": 3,
}
SCHEDULES = ("normal", "karras", "exponential", "sgm_uniform", "simple", "ddim_uniform", "beta")
#: Two samplers of 2024 and two misprints, all of them on the vendor's pages.
SAMPLER_ALIASES = {
    "euler_pp": "euler_pp",
    "euler_ancestral_pp": "euler_ancestral_pp",
    "euler_ancestra": "euler_ancestral",
    "leuler_ancestral_cfg_pp": "euler_ancestral_cfg_pp",
}
ASPECT_RATIOS = (
    "custom",
    "1:1 square 1024x1024",
    "3:4 portrait 896x1152",
    "5:8 portrait 832x1216",
    "9:16 portrait 768x1344",
    "9:21 portrait 640x1536",
    "4:3 landscape 1152x896",
    "3:2 landscape 1216x832",
    "16:9 landscape 1344x768",
    "21:9 landscape 1536x640",
)

#: How strongly: two digits behind the point at most, so that different weights are few.
STRENGTH = r"-?(?:[01](?:\.[0-9]{1,2})?|2(?:\.00?)?)"
STRONGEST = 2.0
#: Of one request.
MAX_LORAS = 5


def text(name: str, help: str, default: str | None = None, *, required: bool = False) -> Param:
    """A prompt."""
    help += " Words only: marks of weight, as in (word:1.2), are read as text. The answer says where it is too long."
    return Param(name=name, kind="string", help=help, default=default, required=required, group="prompt")


def choice(
    name: str,
    help: str,
    choices: tuple[Value, ...],
    default: Value,
    *,
    means: str = "",
    required: bool = False,
    group: Group = "answer",
) -> Param:
    """One of a few values."""
    kind: Kind = "integer" if isinstance(default, int) else "string"
    where: dict[str, Any] = {"means": means, "required": required, "group": group}
    return Param(name=name, kind=kind, help=help, choices=choices, default=default, **where)


def image(default: str | None = None) -> Param:
    """The input image."""
    help = "The input picture: an http(s) URL, a data: URI, base64, or the path of a sample of this server."
    return Param(name="image", kind="picture", help=help, default=default, required=True, group="picture")


def seed(default: int) -> Param:
    """The seed; -1 lets the server draw one."""
    help = "Number that the noise is drawn from; -1 lets the server draw one and report it."
    limits: dict[str, Any] = {"minimum": -1, "maximum": SEEDS - 1}
    return Param(name="seed", kind="integer", help=help, default=default, group="method", **limits)


def count(name: str, max_: int) -> Param:
    """How many images."""
    help = "Number of pictures; picture i has seed + i."
    limits: dict[str, Any] = {"minimum": 1, "maximum": max_}
    return Param(name=name, kind="integer", help=help, default=1, means="count", group="size", **limits)


def steps(name: str, default: int, min_: int, max_: int) -> Param:
    """Denoising steps."""
    help = "Number of denoising steps: more is finer and slower."
    limits: dict[str, Any] = {"minimum": min_, "maximum": max_}
    return Param(name=name, kind="integer", help=help, default=default, means="steps", group="method", **limits)


def guidance(default: float, min_: float, max_: float) -> Param:
    """Classifier-free guidance."""
    help = "How closely the picture follows the prompt; 1 is no guidance."
    return Param(
        name="guidance_scale",
        kind="number",
        help=help,
        default=default,
        minimum=min_,
        maximum=max_,
        means="guidance",
        group="method",
        step=0.1,
    )


def strength(default: float, min_: float) -> Param:
    """How much of the input image is replaced."""
    help = "How much to change the input picture: low values keep it, 1 redraws it."
    limits: dict[str, Any] = {"minimum": min_, "maximum": 1}
    return Param(name="strength", kind="number", help=help, default=default, group="picture", step=0.05, **limits)


def side(name: str) -> Param:
    """Width or height of an image that is drawn from text alone."""
    help = f"The picture's {name} in pixels, rounded to a multiple of {MULTIPLE}; used when aspect_ratio is custom."
    limits: dict[str, Any] = {"minimum": MIN_SIDE, "maximum": MAX_SIDE}
    return Param(name=name, kind="integer", help=help, default=1024, group="size", step=MULTIPLE, **limits)


def sampler() -> Param:
    """The sampler of an SD 3 model."""
    return Param(
        name="sampler",
        kind="string",
        help="The method that steps from noise to picture.",
        default="dpmpp_2m",
        choices=SAMPLERS,
        aliases=SAMPLER_ALIASES,
        plug_ins="tintype.samplers",
        group="method",
    )


def schedule() -> Param:
    """The noise schedule of an SD 3 model."""
    return Param(
        name="scheduler",
        kind="string",
        help="How the noise levels are spread over the steps.",
        default="sgm_uniform",
        choices=SCHEDULES,
        means="schedule",
        group="method",
    )


def quality() -> Param:
    """Compression of a lossy file format."""
    help = "Quality of a JPEG or WebP file; PNG ignores it."
    return Param(name="image_quality", kind="integer", help=help, default=95, minimum=10, maximum=100, means="quality")


def exact() -> Param:
    """Whether the image's bits may depend on what else is running."""
    help = "Share no denoising step with other requests, so that the picture can be made again bit for bit."
    return Param(name="exact", kind="boolean", help=help, default=False)


def base64() -> Param:
    """Whether the answer is base64."""
    return Param(name="base64", kind="boolean", help="Answer with the picture as base64.", default=False)


def offering(spec: ModelSpec, names: Collection[str]) -> ModelSpec:
    """The model with a parameter `loras` that takes these names; unchanged where there are none.

    Names hold letters, digits, `_`, `.` and `-`; raises ValueError for others.
    """
    if wrong := [name for name in names if not re.fullmatch(r"[A-Za-z0-9_.-]+", name)]:
        raise ValueError(f"{wrong[0]!r} was given; allowed are letters, digits, _, . and -")
    return replace(spec, parameters=(*spec.parameters, loras(names))) if names else spec


def read_loras(text: str) -> tuple[tuple[str, float], ...]:
    """`detail, style:0.6` → names and strengths, sorted so that equal selections are equal; raises ValueError.

    Of a name that comes twice the last counts. A strength of 0 is left out.
    """
    chosen = [one.strip().partition(":") for one in text.split(",") if one.strip()]
    strengths = {name: float(strength or 1) for name, _, strength in chosen}
    return tuple(sorted((name, strength) for name, strength in strengths.items() if strength))


def loras(names: Collection[str]) -> Param:
    """LoRAs on top of the model, by name."""
    known = ", ".join(names)
    one = f"(?:{'|'.join(map(re.escape, names))})(?::{STRENGTH})?"
    return Param(
        name="loras",
        kind="string",
        help=f"Styles on top of the model, with their strength or without, such as {next(iter(names))}:0.8. {known}.",
        default="",
        group="prompt",
        pattern=f"(?:{one}(?: ?, ?{one}){{0,{MAX_LORAS - 1}}})?",
        words=f"up to {MAX_LORAS} of {known}, separated by commas, "
        "each perhaps with a strength from -2 to 2, as name:0.75",
    )


def planned_steps(spec: ModelSpec, params: GenerationParams) -> int:
    """Model evaluations to expect per image, until the sampler itself has said.

    Exact but for `dpm_adaptive`, whose steps depend on the image, and for samplers of other packages.
    """
    # diffusers, and so SD 1.5, runs only a part of the steps; KSampler, and so SD 3, runs them all.
    steps = max(1, params.diffusers_steps) if spec.family == "sd15" else params.steps
    if params.sampler == "PNDM":
        return steps + 1  # diffusers' makes its second step twice
    return sum(min(EVALUATIONS.get(params.sampler, 1), left) for left in range(1, steps + 1))


def speed_key(spec: ModelSpec, params: GenerationParams) -> str:
    """What the duration of a step depends on: the model, the size to the power of two, guidance, the number of images.

    A size that only the input image tells is 0.
    """
    rows = params.count * (2 if params.guidance > 1 else 1)
    return f"{spec.slug} {(params.width * params.height).bit_length()} {rows}"
