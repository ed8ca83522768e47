"""Samplers: each yields what to denoise and is sent the denoised latent."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib.metadata import entry_points

from tintype.diffusion.samplers.dpm_solver import dpm_adaptive, dpm_fast
from tintype.diffusion.samplers.euler import (
    ddpm,
    euler,
    euler_ancestral,
    euler_ancestral_cfg_pp,
    euler_cfg_pp,
    lcm,
)
from tintype.diffusion.samplers.multistep import deis, dpmpp_2m, ipndm, ipndm_v, lms
from tintype.diffusion.samplers.runge_kutta import dpm_2, dpm_2_ancestral, dpmpp_2s_ancestral, heun, heunpp2
from tintype.diffusion.samplers.sde import dpmpp_2m_sde, dpmpp_3m_sde, dpmpp_sde
from tintype.diffusion.samplers.spec import SamplerSpec
from tintype.diffusion.samplers.unipc import uni_pc, uni_pc_bh2

#: Entry points of other packages' samplers: the name is the sampler's, the object a `SamplerSpec`.
GROUP = "tintype.samplers"

_EULER = SamplerSpec(euler)
_EULER_ANCESTRAL = SamplerSpec(euler_ancestral)
_SDE = SamplerSpec(dpmpp_sde, evaluations=2)
_2M_SDE = SamplerSpec(dpmpp_2m_sde, order=2)
_3M_SDE = SamplerSpec(dpmpp_3m_sde, order=3)

#: The built-in samplers by their names on the wire. The `_gpu` ones draw the same noise as those without.
SAMPLERS: dict[str, SamplerSpec] = {
    "euler": _EULER,
    "euler_pp": replace(_EULER, guidance_factor=2),
    "euler_cfg_pp": SamplerSpec(euler_cfg_pp, needs_unconditional=True),
    "euler_ancestral": _EULER_ANCESTRAL,
    "euler_ancestral_pp": replace(_EULER_ANCESTRAL, guidance_factor=2),
    "euler_ancestral_cfg_pp": SamplerSpec(euler_ancestral_cfg_pp, needs_unconditional=True),
    "ddim": _EULER,
    "ddpm": SamplerSpec(ddpm),
    "lcm": SamplerSpec(lcm),
    "heun": SamplerSpec(heun, order=2, evaluations=2),
    "heunpp2": SamplerSpec(heunpp2, evaluations=3),
    "dpm_2": SamplerSpec(dpm_2, order=2, evaluations=2, drops_penultimate=True),
    "dpm_2_ancestral": SamplerSpec(dpm_2_ancestral, evaluations=2, drops_penultimate=True),
    "lms": SamplerSpec(lms, order=4),
    "ipndm": SamplerSpec(ipndm, order=4),
    "ipndm_v": SamplerSpec(ipndm_v, order=4),
    "deis": SamplerSpec(deis, order=3),
    "dpm_fast": SamplerSpec(dpm_fast, order=3, min_steps=2),
    "dpm_adaptive": SamplerSpec(dpm_adaptive, order=3, evaluations=None, min_steps=2),
    "dpmpp_2s_ancestral": SamplerSpec(dpmpp_2s_ancestral, evaluations=2),
    "dpmpp_sde": _SDE,
    "dpmpp_sde_gpu": _SDE,
    "dpmpp_2m": SamplerSpec(dpmpp_2m, order=2),
    "dpmpp_2m_sde": _2M_SDE,
    "dpmpp_2m_sde_gpu": _2M_SDE,
    "dpmpp_3m_sde": _3M_SDE,
    "dpmpp_3m_sde_gpu": _3M_SDE,
    "uni_pc": SamplerSpec(uni_pc, order=3, drops_penultimate=True, min_steps=2),
    "uni_pc_bh2": SamplerSpec(uni_pc_bh2, order=3, drops_penultimate=True, min_steps=2),
}


def find_sampler(name: str) -> SamplerSpec:
    """The sampler of that name, built in or another package's; KeyError if there is none."""
    return SAMPLERS[name] if name in SAMPLERS else other_samplers()[name]


@cache
def other_samplers() -> dict[str, SamplerSpec]:
    """Other packages' samplers, in the entry point group `tintype.samplers`; loads them at the first call."""
    found = {}
    for entry in entry_points(group=GROUP):
        found[entry.name] = entry.load()
        if not isinstance(found[entry.name], SamplerSpec) or entry.name in SAMPLERS:
            raise TypeError(f"{entry.value}: a sampler must be a SamplerSpec, and {entry.name!r} not one of ours")
    return found
