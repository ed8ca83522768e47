"""The table of samplers, diffusers' schedulers and schedules: one row each, without torch.

Validator, forms, warnings, progress, recipes and docs/samplers.md read the rows. `tintype.diffusion` alone imports what
`run` names. A new sampler is a row here and its generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Entry points of other packages' samplers: the name is the sampler's, the object a `SamplerSpec`.
PLUG_INS = "tintype.samplers"


@dataclass(frozen=True)
class Advice:
    """What to say of a sampler where it is legal but poor: where all of the conditions hold."""

    #: With {sampler}, {schedule}, {steps}, {run}, the steps that are run, and {enough}, which is `steps_below`.
    words: str
    #: Any, if empty.
    schedules: tuple[str, ...] = ()
    #: Of the steps that are run.
    steps_below: float = math.inf
    strength_below: float = math.inf
    guidance_from: float = 0.0


@dataclass(frozen=True)
class SamplerSpec:
    """What is known of a sampler: a row of the table, or the object that another package offers."""

    #: Its generator as `module:function` of `tintype.diffusion.samplers`; another package's is the function itself.
    run: str | Callable[..., Any]
    #: The power of the step size with which its error falls, once it has its history.
    order: int = 1
    #: Model evaluations per step, at most as many as sigmas above 0 are left; None if adaptive.
    evaluations: int | None = 1
    #: Whether it uses the unconditional prediction, even without guidance.
    needs_unconditional: bool = False
    #: Whether it runs the schedule of one more step, without that schedule's last sigma above 0.
    drops_penultimate: bool = False
    #: Multiplies the guidance.
    guidance_factor: float = 1.0
    #: With fewer steps it returns its initial noise.
    min_steps: int = 1
    #: Whether it draws noise after the initial one.
    stochastic: bool = False
    #: What it is good for, for docs/samplers.md.
    use: str = ""
    #: Its name in A1111's web UI, or in others that came of it; empty where none has such a sampler.
    infotext: str = ""
    #: Misprints on the vendor's pages, which are accepted in its place.
    aliases: tuple[str, ...] = ()
    #: Whether forms and documents name it; it is accepted in any case.
    offered: bool = True
    advice: tuple[Advice, ...] = ()

    def steps_run(self, steps: int, strength: float) -> int:  # noqa: ARG002 - KSampler runs as many at any strength
        """How many steps of a request are run."""
        return steps

    def count(self, steps: int) -> int:
        """Model evaluations in this many steps; of an adaptive sampler, whose number depends on the image, `steps`."""
        return sum(min(self.evaluations or 1, left) for left in range(1, steps + 1))


@dataclass(frozen=True)
class SchedulerSpec(SamplerSpec):
    """A scheduler of diffusers; `run` is `module:class` of `diffusers.schedulers`."""

    #: What its name stands for in addition to the class: overrides the configuration that the weights come with.
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: Evaluations in addition to those of the steps.
    further_evaluations: int = 0
    #: Whether each step copies sigmas to the device, one by one; all of them are sent there once instead.
    sends_sigmas: bool = False

    def steps_run(self, steps: int, strength: float) -> int:
        """diffusers' pipelines leave the first steps out where the strength is below 1."""
        return int(steps * strength)

    def count(self, steps: int) -> int:
        return super().count(steps) + self.further_evaluations


@dataclass(frozen=True)
class ScheduleSpec:
    """How noise levels are spread over the steps; its function has its name in `tintype.diffusion.schedules`."""

    use: str
    #: Its name in A1111's web UI.
    infotext: str
    #: Of the finest schedule that a low strength takes the end of: memory is not endless.
    max_steps: int = 10_000


SCHEDULES: Mapping[str, ScheduleSpec] = {
    "normal": ScheduleSpec("evenly in training time, both ends included", "Normal"),
    "karras": ScheduleSpec("evenly in sigma^(1/7): many steps where detail is made", "Karras"),
    "exponential": ScheduleSpec("evenly in ln sigma: still more of them there", "Exponential"),
    "sgm_uniform": ScheduleSpec(
        "evenly in training time, the last step going to 0 from one step above the end", "SGM Uniform"
    ),
    # Its table of training steps has no more entries.
    "simple": ScheduleSpec("training steps at equal distances from the top down", "Simple", max_steps=1_000),
    "ddim_uniform": ScheduleSpec(
        "the same from the bottom up; may give more steps than asked for, and does not begin at pure noise", "DDIM"
    ),
    "beta": ScheduleSpec("dense at both ends; may give fewer steps than asked for", "Beta"),
}

# Advice of several samplers. The figures were measured on a denoiser whose answer is known (docs/samplers.md).

#: Schedules by their last sigmas above 0.
_COARSE_ENDS, _FINE_ENDS, _WIDE_GAPS = ("sgm_uniform", "simple"), ("karras", "exponential"), ("normal", "ddim_uniform")
_POOR = "{sampler} is poor with {schedule} at {steps} steps; {enough} or more suit it"
_POOR_LEAP = (
    "{sampler} is poor with {schedule} at {steps} steps; {enough} or more, or exponential with 5 or more, suit it"
)
#: Without the penultimate sigma, the last step is a leap.
_LEAPING = (Advice(_POOR_LEAP, _COARSE_ENDS, steps_below=12), Advice(_POOR_LEAP, ("beta",), steps_below=8))
_ENDS_ABOVE_0 = Advice(
    "{sampler} ends above sigma 0 and leaves visible noise with {schedule}; karras or exponential leave none",
    (*_COARSE_ENDS, "beta"),
)
_CONTRAST = Advice(
    "{sampler} has far too much contrast with {schedule} below {enough} steps; karras suits it",
    _WIDE_GAPS,
    steps_below=50,
)
_CFG_PP = Advice("{sampler} is meant for guidance from 1 to 2", guidance_from=3.0)  # where it burns out
#: These begin as if they had the history of the steps that a strength below 1 leaves out, as they do in diffusers.
_NO_HISTORY = (
    "{sampler} leaves noise where fewer than {enough} steps are run, at this strength {run} of {steps}; "
    "DPM Multi and Euler leave none"
)

#: Under two names each, since the vendor's pages have both.
_DPMPP_SDE = SamplerSpec(
    "sde:dpmpp_sde", evaluations=2, stochastic=True, infotext="DPM++ SDE", use="variety with much detail"
)
_DPMPP_2M_SDE = SamplerSpec(
    "sde:dpmpp_2m_sde",
    order=2,
    stochastic=True,
    infotext="DPM++ 2M SDE",
    use="as `dpmpp_sde` at half the price; too much contrast with normal and ddim_uniform",
    advice=(_CONTRAST,),
)
_DPMPP_3M_SDE = SamplerSpec(
    "sde:dpmpp_3m_sde",
    order=3,
    stochastic=True,
    infotext="DPM++ 3M SDE",
    use="with karras, best from 20 steps on; too much contrast with normal and ddim_uniform",
    advice=(_CONTRAST,),
)

#: The samplers of the SD 3 family by their names on the wire.
SAMPLERS: Mapping[str, SamplerSpec] = {
    "euler": SamplerSpec(
        "euler:euler", infotext="Euler", use="the plain one; robust everywhere, needs 30 steps or more to be exact"
    ),
    "euler_pp": SamplerSpec(
        "euler:euler", guidance_factor=2, offered=False, use="`euler` at twice the guidance; an older name"
    ),
    "euler_cfg_pp": SamplerSpec(
        "euler:euler_cfg_pp",
        needs_unconditional=True,
        use="guidance from 1 to 2: keeps colours where strong guidance burns them",
        advice=(_CFG_PP,),
    ),
    "euler_ancestral": SamplerSpec(
        "euler:euler_ancestral", stochastic=True, infotext="Euler a", aliases=("euler_ancestra",), use="variety"
    ),
    "euler_ancestral_pp": SamplerSpec(
        "euler:euler_ancestral",
        guidance_factor=2,
        stochastic=True,
        offered=False,
        use="`euler_ancestral` at twice the guidance; an older name",
    ),
    "euler_ancestral_cfg_pp": SamplerSpec(
        "euler:euler_ancestral_cfg_pp",
        needs_unconditional=True,
        stochastic=True,
        aliases=("leuler_ancestral_cfg_pp",),
        use="variety for guidance from 1 to 2",
        advice=(_CFG_PP,),
    ),
    "heun": SamplerSpec(
        "runge_kutta:heun",
        order=2,
        evaluations=2,
        infotext="Heun",
        use="exact; half as many steps as euler cost the same",
    ),
    "heunpp2": SamplerSpec("runge_kutta:heunpp2", evaluations=3, use="rarely worth its evaluations"),
    "dpm_2": SamplerSpec(
        "runge_kutta:dpm_2",
        order=2,
        evaluations=2,
        drops_penultimate=True,
        infotext="DPM2",
        use="as heun, with a midpoint; with sgm_uniform and simple 12 steps or more, with beta 8",
        advice=_LEAPING,
    ),
    "dpm_2_ancestral": SamplerSpec(
        "runge_kutta:dpm_2_ancestral",
        evaluations=2,
        drops_penultimate=True,
        stochastic=True,
        infotext="DPM2 a",
        use="variety with a midpoint; with karras and exponential 5 steps or more",
        advice=(*_LEAPING, Advice(_POOR, _FINE_ENDS, steps_below=5)),
    ),
    "lms": SamplerSpec(
        "multistep:lms",
        order=4,
        infotext="LMS",
        use="the most exact for its price from 20 steps on; no better than euler below 8",
    ),
    "dpm_fast": SamplerSpec(
        "dpm_solver:dpm_fast",
        order=3,
        min_steps=2,
        infotext="DPM fast",
        use="ends above sigma 0: not with sgm_uniform, simple or beta; 4 steps or more",
        advice=(_ENDS_ABOVE_0, Advice(_POOR, steps_below=4)),
    ),
    "dpm_adaptive": SamplerSpec(
        "dpm_solver:dpm_adaptive",
        order=3,
        evaluations=None,
        min_steps=2,
        infotext="DPM adaptive",
        use="ignores `steps` but for where it ends: not with sgm_uniform, simple or beta",
        advice=(_ENDS_ABOVE_0, Advice("{sampler} chooses its own steps")),
    ),
    "dpmpp_2s_ancestral": SamplerSpec(
        "runge_kutta:dpmpp_2s_ancestral",
        evaluations=2,
        stochastic=True,
        infotext="DPM++ 2S a",
        use="variety, smoother than euler_ancestral",
    ),
    "dpmpp_sde": _DPMPP_SDE,
    "dpmpp_sde_gpu": _DPMPP_SDE,
    "dpmpp_2m": SamplerSpec(
        "multistep:dpmpp_2m",
        order=2,
        infotext="DPM++ 2M",
        use="the default; with sgm_uniform or karras",
        advice=(Advice("{sampler} is much less exact with {schedule} than with sgm_uniform or karras", _WIDE_GAPS),),
    ),
    "dpmpp_2m_sde": _DPMPP_2M_SDE,
    "dpmpp_2m_sde_gpu": _DPMPP_2M_SDE,
    "dpmpp_3m_sde": _DPMPP_3M_SDE,
    "dpmpp_3m_sde_gpu": _DPMPP_3M_SDE,
    "ddpm": SamplerSpec(
        "euler:ddpm",
        stochastic=True,
        infotext="DDPM",
        use="variety; leaves noise with karras and exponential",
        advice=(Advice("{sampler} leaves noise with {schedule}; sgm_uniform suits it", _FINE_ENDS),),
    ),
    "lcm": SamplerSpec(
        "euler:lcm",
        stochastic=True,
        infotext="LCM",
        use="for consistency models only",
        advice=(Advice("{sampler} is meant for consistency models; with others it is smooth and flat"),),
    ),
    "ipndm": SamplerSpec("multistep:ipndm", order=4, infotext="IPNDM", use="good at few steps"),
    "ipndm_v": SamplerSpec(
        "multistep:ipndm_v",
        order=4,
        use="good at few steps; with beta from 10 on",
        advice=(Advice(_POOR, ("beta",), steps_below=10),),
    ),
    "deis": SamplerSpec("multistep:deis", order=3, infotext="DEIS", use="good at few steps"),
    "ddim": SamplerSpec("euler:euler", infotext="DDIM", use="the same as euler"),
    "uni_pc": SamplerSpec(
        "unipc:uni_pc",
        order=3,
        drops_penultimate=True,
        min_steps=2,
        infotext="UniPC",
        use="with exponential, or karras from 6 steps on; with sgm_uniform and simple 12 steps or more, with beta 8",
        advice=(*_LEAPING, Advice(_POOR_LEAP, ("karras",), steps_below=6)),
    ),
    "uni_pc_bh2": SamplerSpec(
        "unipc:uni_pc_bh2",
        order=3,
        drops_penultimate=True,
        min_steps=2,
        infotext="UniPC",
        use="as `uni_pc`, by the other of its paper's two formulas",
        advice=_LEAPING,
    ),
}

#: diffusers' schedulers by their names on the wire: the samplers of models that predict noise or v.
SCHEDULERS: Mapping[str, SchedulerSpec] = {
    "DDIM": SchedulerSpec(
        "scheduling_ddim:DDIMScheduler", infotext="DDIM", use="the default with Stable Diffusion 1.5"
    ),
    "DPM Multi": SchedulerSpec(
        "scheduling_dpmsolver_multistep:DPMSolverMultistepScheduler",
        order=2,
        infotext="DPM++ 2M",
        use="exact at few steps",
    ),
    "DPM Single": SchedulerSpec(
        "scheduling_dpmsolver_singlestep:DPMSolverSinglestepScheduler",
        order=2,
        use="much as DPM Multi",
    ),
    "Euler a": SchedulerSpec(
        "scheduling_euler_ancestral_discrete:EulerAncestralDiscreteScheduler",
        stochastic=True,
        infotext="Euler a",
        use="variety",
    ),
    "Euler": SchedulerSpec(
        "scheduling_euler_discrete:EulerDiscreteScheduler", infotext="Euler", use="the plain one; robust"
    ),
    "Heun": SchedulerSpec(
        "scheduling_heun_discrete:HeunDiscreteScheduler",
        order=2,
        evaluations=2,
        infotext="Heun",
        use="exact, at twice the price",
    ),
    "DPM2 a Karras": SchedulerSpec(
        "scheduling_k_dpm_2_ancestral_discrete:KDPM2AncestralDiscreteScheduler",
        evaluations=2,
        stochastic=True,
        infotext="DPM2 a",
        use="variety with a midpoint",
        settings={"use_karras_sigmas": True},
    ),
    "DPM2 Karras": SchedulerSpec(
        "scheduling_k_dpm_2_discrete:KDPM2DiscreteScheduler",
        order=2,
        evaluations=2,
        infotext="DPM2",
        use="as Heun, with a midpoint",
        settings={"use_karras_sigmas": True},
    ),
    "LMS": SchedulerSpec(
        "scheduling_lms_discrete:LMSDiscreteScheduler",
        order=4,
        infotext="LMS",
        use="not where strength leaves fewer than 8 steps",
        advice=(Advice(_NO_HISTORY, steps_below=8, strength_below=1),),
    ),
    "PNDM": SchedulerSpec(
        "scheduling_pndm:PNDMScheduler",
        order=4,
        infotext="PLMS",
        use="what the published weights came with; not where strength leaves fewer than 3 steps",
        further_evaluations=1,  # it makes its second step twice
        advice=(Advice(_NO_HISTORY, steps_below=3, strength_below=1),),
    ),
    "DDPM": SchedulerSpec(
        "scheduling_ddpm:DDPMScheduler", stochastic=True, infotext="DDPM", use="variety, as in training"
    ),
    "UniPC": SchedulerSpec(
        "scheduling_unipc_multistep:UniPCMultistepScheduler",
        order=2,
        infotext="UniPC",
        use="exact at few steps; the default with Stable Diffusion XL",
        sends_sigmas=True,
    ),
}

#: What forms offer, and what each further spelling stands for.
OFFERED = tuple(name for name, spec in SAMPLERS.items() if spec.offered)
ALIASES: Mapping[str, str] = {
    **{name: name for name, spec in SAMPLERS.items() if not spec.offered},
    **{alias: name for name, spec in SAMPLERS.items() for alias in spec.aliases},
}


def known_sampler(name: str) -> SamplerSpec | None:
    """The row of a sampler or a scheduler; None for another package's, whose properties only a worker reads."""
    return SAMPLERS.get(name) or SCHEDULERS.get(name)
