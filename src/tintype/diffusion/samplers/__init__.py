"""The SD 3 family's samplers: each yields what it wants denoised and is sent the denoised latent."""

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
from tintype.diffusion.samplers.method import Method
from tintype.diffusion.samplers.multistep import deis, dpmpp_2m, ipndm, ipndm_v, lms
from tintype.diffusion.samplers.runge_kutta import dpm_2, dpm_2_ancestral, dpmpp_2s_ancestral, heun, heunpp2
from tintype.diffusion.samplers.sde import dpmpp_2m_sde, dpmpp_3m_sde, dpmpp_sde
from tintype.diffusion.samplers.unipc import uni_pc, uni_pc_bh2

#: Where other packages offer samplers: an entry point's name is the sampler's, and what it loads is a `Method`.
GROUP = "tintype.samplers"

_EULER = Method(euler)
_EULER_ANCESTRAL = Method(euler_ancestral, stochastic=True)
_SDE = Method(dpmpp_sde, evaluations=2, stochastic=True)
_2M_SDE = Method(dpmpp_2m_sde, order=2, stochastic=True)
_3M_SDE = Method(dpmpp_3m_sde, order=3, stochastic=True)

#: Every sampler that is built in, by its name on the wire. Where the noise is drawn is not what `_gpu` means here.
SAMPLERS: dict[str, Method] = {
    "euler": _EULER,
    "euler_pp": replace(_EULER, guidance_factor=2),
    "euler_cfg_pp": Method(euler_cfg_pp, needs_unconditional=True),
    "euler_ancestral": _EULER_ANCESTRAL,
    "euler_ancestral_pp": replace(_EULER_ANCESTRAL, guidance_factor=2),
    "euler_ancestral_cfg_pp": Method(euler_ancestral_cfg_pp, stochastic=True, needs_unconditional=True),
    "ddim": _EULER,
    "ddpm": Method(ddpm, stochastic=True),
    "lcm": Method(lcm, stochastic=True),
    "heun": Method(heun, order=2, evaluations=2),
    "heunpp2": Method(heunpp2, evaluations=3),
    "dpm_2": Method(dpm_2, order=2, evaluations=2, drops_penultimate=True),
    "dpm_2_ancestral": Method(dpm_2_ancestral, evaluations=2, stochastic=True, drops_penultimate=True),
    "lms": Method(lms, order=4),
    "ipndm": Method(ipndm, order=4),
    "ipndm_v": Method(ipndm_v, order=4),
    "deis": Method(deis, order=3),
    "dpm_fast": Method(dpm_fast, order=3, least_steps=2, reaches_zero=False),
    "dpm_adaptive": Method(dpm_adaptive, order=3, evaluations=None, least_steps=2, reaches_zero=False),
    "dpmpp_2s_ancestral": Method(dpmpp_2s_ancestral, evaluations=2, stochastic=True),
    "dpmpp_sde": _SDE,
    "dpmpp_sde_gpu": _SDE,
    "dpmpp_2m": Method(dpmpp_2m, order=2),
    "dpmpp_2m_sde": _2M_SDE,
    "dpmpp_2m_sde_gpu": _2M_SDE,
    "dpmpp_3m_sde": _3M_SDE,
    "dpmpp_3m_sde_gpu": _3M_SDE,
    "uni_pc": Method(uni_pc, order=3, drops_penultimate=True, least_steps=2),
    "uni_pc_bh2": Method(uni_pc_bh2, order=3, drops_penultimate=True, least_steps=2),
}


def find_sampler(name: str) -> Method:
    """The sampler of that name, built in or another package's; KeyError if there is none."""
    return SAMPLERS[name] if name in SAMPLERS else other_samplers()[name]


@cache
def other_samplers() -> dict[str, Method]:
    """What other packages offer in the entry point group `tintype.samplers`; loads them, at the first call only."""
    found = {}
    for entry in entry_points(group=GROUP):
        found[entry.name] = entry.load()
        if not isinstance(found[entry.name], Method) or entry.name in SAMPLERS:
            raise TypeError(f"{entry.value}: a sampler must be a Method, and {entry.name!r} not one of ours")
    return found
