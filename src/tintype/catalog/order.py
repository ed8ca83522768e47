"""An order: what a request asks for, in one vocabulary for all models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from tintype.catalog.loras import read_loras
from tintype.catalog.parameters import EVALUATIONS
from tintype.catalog.spec import Draw, ModelSpec

#: What stands before the name of a stored input picture, where a caller's own text would have stood.
STORED = "file:"
#: What the path of a picture begins with that this server keeps already, an upload or an output.
OWN_FILES = "/files/"
SEEDS = 2**63
#: Drawn seeds stay short enough to be read out, and exact in JavaScript.
DRAWN_SEEDS = 2**32
#: Pixels per side that every family can divide: 8 for the autoencoder, 2 for SD 3's patches.
MULTIPLE = 16
SMALLEST = 64


@dataclass(frozen=True, kw_only=True)
class GenerationParams:
    """What a caller wants. Sizes are in pixels; 0 × 0 means the size of the input picture."""

    prompt: str = ""
    negative_prompt: str = ""
    #: URL, data URI, base64, sample path or stored name of the input picture; empty for text-to-image.
    image: str = ""
    steps: int
    guidance: float
    #: How much of the input picture is replaced, 0–1.
    strength: float = 1.0
    seed: int
    #: Pictures wanted; picture i has seed + i.
    count: int = 1
    width: int = 0
    height: int = 0
    sampler: str
    schedule: str = ""
    format: Literal["jpeg", "png", "webp"] = "jpeg"
    quality: int = 95
    base64: bool = False
    #: Whether its pictures share no forward pass with anything.
    exact: bool = False
    #: LoRAs on top of the model's weights, as they were asked for.
    loras: str = ""

    @property
    def seeds(self) -> list[int]:
        """One seed per picture."""
        return [(self.seed + index) % SEEDS for index in range(self.count)]

    @property
    def has_negative(self) -> bool:
        """Whether the negative prompt has an effect; samplers of other packages may have it count in any case."""
        # `_cfg_pp` needs both answers; `euler_pp` doubles the guidance, of which one up to 0.5 isn't told apart here.
        return self.guidance > 1 or self.sampler.endswith("_pp")

    @property
    def styles(self) -> tuple[tuple[str, float], ...]:
        """Its LoRAs' names and strengths; raises ValueError where it comes from elsewhere than a model's validator."""
        return read_loras(self.loras)

    def pixels(self, width: int, height: int) -> int:
        """The pixels that its pictures have together, each of this size."""
        return self.count * width * height


def order(spec: ModelSpec, params: Mapping[str, Any]) -> GenerationParams:
    """Translate a model's validated parameters, whose seed has been settled.

    They may have been stored before the model had all of its optional parameters; raises KeyError for other gaps.
    """
    unasked = {param.name: param.default for param in spec.parameters if not param.required}
    whole = unasked | dict(params)
    asked = {param.means or param.name: whole[param.name] for param in spec.parameters} | dict(spec.fixed)
    if size := re.search(r"(\d+)x(\d+)$", asked.get("aspect_ratio", "")):
        asked["width"], asked["height"] = int(size[1]), int(size[2])
    for side in ("width", "height"):
        asked[side] = _fit(asked.get(side, 0))
    known = {field.name for field in fields(GenerationParams)}
    return GenerationParams(**{name: value for name, value in asked.items() if name in known})


def settle_seed(params: dict[str, Any], draw: Draw) -> dict[str, Any]:
    """Replace the seed -1 by a drawn one, so that a repeated attempt makes the same picture."""
    return params | {"seed": draw(DRAWN_SEEDS)} if params["seed"] == -1 else params


def _fit(side: int) -> int:
    """The nearest side that the models take; 0 stays 0."""
    return side and max(SMALLEST, round(side / MULTIPLE) * MULTIPLE)


def planned_steps(spec: ModelSpec, wanted: GenerationParams) -> int:
    """Model evaluations to expect per picture, until the sampler itself has said.

    Exact but for `dpm_adaptive`, whose steps the picture decides, and for samplers of other packages.
    """
    # diffusers, and so SD 1.5, runs only a part of the steps; KSampler, and so SD 3, runs them all.
    steps = max(1, int(wanted.steps * wanted.strength)) if spec.family == "sd15" else wanted.steps
    if wanted.sampler == "PNDM":
        return steps + 1  # diffusers' makes its second step twice
    return sum(min(EVALUATIONS.get(wanted.sampler, 1), left) for left in range(1, steps + 1))


def pace(spec: ModelSpec, wanted: GenerationParams) -> str:
    """What the duration of a step depends on: the model, the size to the power of two, guidance, the pictures.

    A size that only the input picture tells is 0.
    """
    rows = wanted.count * (2 if wanted.guidance > 1 else 1)
    return f"{spec.slug} {(wanted.width * wanted.height).bit_length()} {rows}"
