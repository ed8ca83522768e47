"""The parameters that several models have, and LoRAs that a request may name."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from tintype.catalog.formats import alternatives, offered
from tintype.catalog.spec import MAX_SIDE, MIN_SIDE, MULTIPLE, Group, Kind, ModelSpec, Param, Value
from tintype.core import SEEDS, GenerationParams
from tintype.samplers import ALIASES, OFFERED, PLUG_INS, SCHEDULERS, SCHEDULES, SamplerSpec, known_sampler

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
    help = "The input image: an http(s) URL, a data: URI, base64, or the path of a sample of this server."
    return Param(name="image", kind="picture", help=help, default=default, required=True, group="picture")


def mask() -> Param:
    """Which part of the input image is repainted."""
    help = (
        "Which part of the input image to repaint: an image that is white there, and black or transparent "
        "elsewhere; one of another size is scaled to the input image's. Sent in the same ways as that."
    )
    return Param(name="mask", kind="picture", help=help, required=True, group="picture")


def seed(default: int) -> Param:
    """The seed; -1 lets the server draw one."""
    help = "Number that the noise is drawn from; -1 lets the server draw one and report it."
    limits: dict[str, Any] = {"minimum": -1, "maximum": SEEDS - 1}
    return Param(name="seed", kind="integer", help=help, default=default, group="method", **limits)


def count(name: str, max_: int) -> Param:
    """How many images."""
    help = "Number of images; image i has seed + i."
    limits: dict[str, Any] = {"minimum": 1, "maximum": max_}
    return Param(name=name, kind="integer", help=help, default=1, means="count", group="size", **limits)


def steps(name: str, default: int, min_: int, max_: int) -> Param:
    """Denoising steps."""
    help = "Number of denoising steps: more is finer and slower."
    limits: dict[str, Any] = {"minimum": min_, "maximum": max_}
    return Param(name=name, kind="integer", help=help, default=default, means="steps", group="method", **limits)


def guidance(default: float, min_: float, max_: float) -> Param:
    """Classifier-free guidance."""
    help = "How closely the image follows the prompt; 1 is no guidance."
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
    keeps = "low values keep it" if min_ else "0 keeps it"
    help = f"How much to change the input image: {keeps}, 1 redraws it."
    limits: dict[str, Any] = {"minimum": min_, "maximum": 1}
    return Param(name="strength", kind="number", help=help, default=default, group="picture", step=0.05, **limits)


def side(name: str, default: int = 1024, min_: int = MIN_SIDE, max_: int = MAX_SIDE, when: str = "") -> Param:
    """Width or height of an image that is drawn from text alone; `img_width` means width."""
    means = name.removeprefix("img_")
    help = f"The image's {means} in pixels, rounded to a multiple of {MULTIPLE}{when}."
    limits: dict[str, Any] = {"minimum": min_, "maximum": max_, "step": MULTIPLE}
    return Param(name=name, kind="integer", help=help, default=default, means=means, group="size", **limits)


def sampler() -> Param:
    """The sampler of an SD 3 model."""
    return Param(
        name="sampler",
        kind="string",
        help="The method that steps from noise to image.",
        default="dpmpp_2m",
        choices=OFFERED,
        aliases=ALIASES,
        plug_ins=PLUG_INS,
        group="method",
    )


def schedule() -> Param:
    """The noise schedule of an SD 3 model."""
    help = "How the noise levels are spread over the steps."
    return choice("scheduler", help, tuple(SCHEDULES), "sgm_uniform", means="schedule", group="method")


def diffusers_scheduler(default: str = "DDIM") -> Param:
    """The sampler of a model that predicts noise or v."""
    return choice("scheduler", "The sampling method.", tuple(SCHEDULERS), default, means="sampler", group="method")


def file_format(name: str, *contract: str) -> Param:
    """The file format, by default the contract's first; what this machine's Pillow can't write is left out."""
    names = tuple(row.name for row in offered() if row.everywhere or row.name in contract)
    return choice(name, "The image's file format.", names, contract[0], means="format")


def quality() -> Param:
    """Compression of a lossy file format."""
    lossy = alternatives(row.title for row in offered() if row.options)
    lossless = alternatives(row.title for row in offered() if not row.options)
    help = f"Quality of a {lossy} file; {lossless} ignores it."
    return Param(name="image_quality", kind="integer", help=help, default=95, minimum=10, maximum=100, means="quality")


NO_REFINER = "false, as no weights for the refiner are here; the operator can name some in the models file"


def refiner() -> Param:
    """Whether a refiner ends the image; `refined` allows it."""
    return Param(
        name="refiner",
        kind="boolean",
        help="Let the refiner draw the last steps, with strength and high_noise_fraction.",
        default=False,
        choices=(False,),
        words=NO_REFINER,
        group="method",
    )


def refined(spec: ModelSpec) -> ModelSpec:
    """The model where it has a refiner."""
    own = (replace(one, choices=(), words="") if one.field == "refiner" else one for one in spec.parameters)
    return replace(spec, parameters=tuple(own))


def high_noise_fraction() -> Param:
    """What the model draws itself, before its refiner."""
    help = "How much of the way from noise to image is drawn before the refiner: 0 none, 1 all of it."
    return _fraction("high_noise_fraction", help, 0.8)


def refiner_strength() -> Param:
    """How much of a finished image the refiner redraws."""
    help = "How much the refiner changes an image that is drawn already: where high_noise_fraction is 1."
    return replace(_fraction("strength", help, 0.2), means="refiner_strength")


def _fraction(name: str, help: str, default: float) -> Param:
    limits: dict[str, Any] = {"minimum": 0, "maximum": 1, "step": 0.05}
    return Param(name=name, kind="number", help=help, default=default, group="method", **limits)


def exact() -> Param:
    """Whether the image's bits may depend on what else is running."""
    help = "Share no denoising step with other requests, so that the image can be made again bit for bit."
    return Param(name="exact", kind="boolean", help=help, default=False)


def base64() -> Param:
    """Whether the answer is base64."""
    return Param(name="base64", kind="boolean", help="Answer with the image as base64.", default=False)


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


def planned_steps(params: GenerationParams) -> int:
    """Model evaluations to expect per image, until the sampler itself has said.

    Exact but for `dpm_adaptive`, whose steps depend on the image, and for samplers of other packages.
    """
    spec = known_sampler(params.sampler)
    return spec.count(max(1, params.steps_run)) if spec else params.steps


def speed_key(spec: ModelSpec, params: GenerationParams) -> str:
    """What the duration of a step depends on: the model, the size to the power of two, guidance, the number of images.

    A size that only the input image tells is 0.
    """
    rows = params.count * (2 if params.guidance > 1 else 1)
    return f"{spec.slug} {(params.width * params.height).bit_length()} {rows}"


def evaluations(spec: ModelSpec) -> dict[str, tuple[int, int]]:
    """Of the model's samplers that don't evaluate it once per step: how often per step, and how often in addition."""
    counts = {name: (row.evaluations or 1, row.count(1) - 1) for name, row in _samplers(spec).items()}
    return {name: count for name, count in counts.items() if count != (1, 0)}


def skips_steps(spec: ModelSpec) -> bool:
    """Whether a strength below 1 leaves the first steps out."""
    return any(row.steps_run(2, 0.5) < 2 for row in _samplers(spec).values())


def _samplers(spec: ModelSpec) -> dict[str, SamplerSpec]:
    """By name, those that its callers may choose from, without other packages', or the only one."""
    offered = [str(name) for param in spec.parameters if param.field == "sampler" for name in param.choices]
    return {name: row for name in offered or [spec.fixed["sampler"]] if (row := known_sampler(name))}
