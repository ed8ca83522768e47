"""Where each model's own weights are published: repository, commit, licence, gate, size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A repository of the Hugging Face hub in the diffusers layout."""

    repository: str
    #: The commit that is pulled, so that every server has the same weights.
    revision: str
    licence: str
    #: Whether its licence must be accepted on the repository's page before anything can be pulled.
    gated: bool
    #: Bytes to be pulled, roughly: the files that are needed, each in its smallest published dtype.
    size: int
    #: Whether a few-step LoRA of the operator's choice must be added: the model's own weights aren't public.
    needs_lora: bool = False


MEDIUM = "stabilityai/stable-diffusion-3-medium-diffusers"
MEDIUM_COMMIT = "ea42f8cef0f178587cf766dc8129abd379c90671"
COMMUNITY = "Stability AI Community License: free below a yearly revenue of 1 M$"

SOURCES: Mapping[str, Source] = {
    "sd1.5-img2img": Source(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
        "CreativeML Open RAIL-M",
        gated=False,
        size=2_100_000_000,
    ),
    "sd3-med-img2img": Source(MEDIUM, MEDIUM_COMMIT, COMMUNITY, gated=True, size=15_500_000_000),
    "stable-diffusion-3-turbo-img2img": Source(
        MEDIUM, MEDIUM_COMMIT, COMMUNITY, gated=True, size=15_500_000_000, needs_lora=True
    ),
    "stable-diffusion-3.5-turbo-txt2img": Source(
        "stabilityai/stable-diffusion-3.5-large-turbo",
        "ec07796fc06b096cc56de9762974a28f4c632eda",
        COMMUNITY,
        gated=True,
        size=27_600_000_000,
    ),
}
