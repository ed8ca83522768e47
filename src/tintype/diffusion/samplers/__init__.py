"""Samplers: each yields what to denoise and is sent the denoised latent (or, of diffusers, the model's prediction)."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from tintype.samplers import PLUG_INS, SAMPLERS, SamplerSpec


def find_sampler(name: str) -> SamplerSpec:
    """The sampler of that name, built in or another package's; KeyError if there is none."""
    return SAMPLERS[name] if name in SAMPLERS else other_samplers()[name]


@cache
def other_samplers() -> dict[str, SamplerSpec]:
    """Other packages' samplers, in the entry point group `tintype.samplers`; loads them at the first call."""
    found = {}
    for entry in entry_points(group=PLUG_INS):
        found[entry.name] = entry.load()
        if not isinstance(found[entry.name], SamplerSpec) or entry.name in SAMPLERS:
            raise TypeError(f"{entry.value}: a sampler must be a SamplerSpec, and {entry.name!r} not one of ours")
    return found
