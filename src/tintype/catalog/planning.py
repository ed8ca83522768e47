"""What a request will take, estimated from its parameters alone."""

from __future__ import annotations

from tintype.catalog.parameters import EVALUATIONS
from tintype.catalog.spec import ModelSpec
from tintype.core import GenerationParams


def planned_steps(spec: ModelSpec, params: GenerationParams) -> int:
    """Model evaluations to expect per image, until the sampler itself has said.

    Exact but for `dpm_adaptive`, whose steps depend on the image, and for samplers of other packages.
    """
    # diffusers, and so SD 1.5, runs only a part of the steps; KSampler, and so SD 3, runs them all.
    steps = max(1, int(params.steps * params.strength)) if spec.family == "sd15" else params.steps
    if params.sampler == "PNDM":
        return steps + 1  # diffusers' makes its second step twice
    return sum(min(EVALUATIONS.get(params.sampler, 1), left) for left in range(1, steps + 1))


def speed_key(spec: ModelSpec, params: GenerationParams) -> str:
    """What the duration of a step depends on: the model, the size to the power of two, guidance, the number of images.

    A size that only the input image tells is 0.
    """
    rows = params.count * (2 if params.guidance > 1 else 1)
    return f"{spec.slug} {(params.width * params.height).bit_length()} {rows}"
