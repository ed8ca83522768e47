"""Combinations that are refused, and those that are legal but poor, of samplers, schedules, steps and strength.

The figures behind the words were measured on a denoiser whose answer is known; `docs/samplers.md` has the page.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tintype.catalog.parameters import SAMPLERS, SD15_SCHEDULERS
from tintype.catalog.spec import ModelSpec
from tintype.core import GenerationParams
from tintype.errors import BadRequest

#: With one step these return the noise that they were given.
NEED_TWO_STEPS = ("uni_pc", "uni_pc_bh2", "dpm_fast", "dpm_adaptive")
COARSE_ENDS = ("sgm_uniform", "simple")
FINE_ENDS = ("karras", "exponential")
WIDE_GAPS = ("normal", "ddim_uniform")
#: Samplers that leap from the last sigma to 0, and by schedule below how many steps that leaves little of the image.
LEAPING = ("dpm_2", "uni_pc")
FEW_STEPS = {"sgm_uniform": 12, "simple": 12, "beta": 8}
MANY_STEPS = 50
#: The finest schedules that a low strength can take the end of: the table has no more entries, memory is not endless.
FINEST = {"simple": 1_000}
FINEST_OTHERWISE = 10_000
#: From this guidance on, the cfg_pp samplers burn out.
STRONG = 3.0

#: Samplers that begin as if they had the history of the steps that a strength below 1 leaves out, as they do in
#: diffusers. `diffusers_steps` up to which that leaves noise in the image.
LEAVES_NOISE = {"LMS": 7, "PNDM": 2}

#: When, and what to say then.
POOR: tuple[tuple[Callable[[GenerationParams], bool], str], ...] = (
    (
        lambda params: params.sampler in ("dpm_fast", "dpm_adaptive") and params.schedule in (*COARSE_ENDS, "beta"),
        "{sampler} ends above sigma 0 and leaves visible noise with {schedule}; karras or exponential leave none",
    ),
    (lambda params: params.sampler == "dpm_adaptive", "dpm_adaptive chooses its own steps"),
    (
        lambda params: (
            params.sampler.startswith(("dpmpp_2m_sde", "dpmpp_3m_sde"))
            and params.schedule in WIDE_GAPS
            and params.steps < MANY_STEPS
        ),
        "{sampler} has far too much contrast with {schedule} below 50 steps; karras suits it",
    ),
    (
        lambda params: params.sampler == "dpmpp_2m" and params.schedule in WIDE_GAPS,
        "{sampler} is much less exact with {schedule} than with sgm_uniform or karras",
    ),
    (
        lambda params: (
            params.schedule == "ddim_uniform" and params.steps == 1 and not params.sampler.startswith(LEAPING)
        ),
        "ddim_uniform with 1 step begins where nothing is left to do",
    ),
    (
        lambda params: params.schedule == "ddim_uniform" and params.steps > 1 and params.strength >= 1,
        "ddim_uniform may take more steps than asked for, and does not begin at pure noise",
    ),
    (
        lambda params: params.sampler.startswith(LEAPING) and params.steps < FEW_STEPS.get(params.schedule, 0),
        "{sampler} is poor with {schedule} at {steps} steps; {enough} or more, or exponential with 5 or more, suit it",
    ),
    (
        lambda params: (
            (params.sampler == "uni_pc" and params.schedule == "karras" and params.steps < 6)
            or (params.sampler == "ipndm_v" and params.schedule == "beta" and params.steps < 10)
            or (params.sampler == "dpm_2_ancestral" and params.schedule in FINE_ENDS and params.steps < 5)
            or (params.sampler == "dpm_fast" and params.steps < 4)
        ),
        "{sampler} is poor with {schedule} at {steps} steps; more suit it",
    ),
    (
        lambda params: params.sampler == "ddpm" and params.schedule in FINE_ENDS,
        "ddpm leaves noise with {schedule}; sgm_uniform suits it",
    ),
    (
        lambda params: (
            0 < params.strength < params.steps / FINEST.get(params.schedule, FINEST_OTHERWISE) and bool(params.schedule)
        ),
        "a strength this low is rounded up to what {steps} steps of {schedule} can begin at",
    ),
    (
        lambda params: params.strength < 1 and params.diffusers_steps <= LEAVES_NOISE.get(params.sampler, -1),
        "{sampler} leaves noise where fewer than {clean} steps are run, at this strength {run} of {steps}; "
        "DPM Multi and Euler leave none",
    ),
    (lambda params: params.sampler == "lcm", "lcm is meant for consistency models; with others it is smooth and flat"),
    (
        lambda params: params.sampler.endswith("cfg_pp") and params.guidance >= STRONG,
        "{sampler} is meant for guidance from 1 to 2",
    ),
)


def refuse(params: GenerationParams) -> None:
    """Raise BadRequest for what could only end in noise."""
    if params.sampler in NEED_TWO_STEPS and params.steps < 2 and params.strength > 0:
        raise BadRequest(f"{params.sampler} needs at least 2 steps, 1 was sent: with one it only returns its noise")


def warnings(params: GenerationParams) -> list[str]:
    """What the caller should know of a legal but poor combination."""
    named = {
        "sampler": params.sampler,
        "schedule": params.schedule,
        "steps": params.steps,
        "run": params.diffusers_steps,
        "enough": FEW_STEPS.get(params.schedule, 0),
        "clean": LEAVES_NOISE.get(params.sampler, 0) + 1,
    }
    return [words.format(**named) for applies, words in POOR if applies(params)]


#: Brackets that are meant as they stand, by the rules of the programs that read others.
ESCAPED = re.compile(r"\\[()\[\]]")
#: `(word:1.2)`, `((word))`, `[word]` and `[one:other:0.5]`, as AUTOMATIC1111's web UI reads them. A number behind a
#: colon is a weight where it is small, and not half of a ratio or a time: (16:9), (at 10:30). One pair of round
#: brackets may occur in any sentence. No pattern goes over a text twice: it may be 20,000 brackets.
WEIGHTS = re.compile(
    r"\([^()\[\]:]*(?:[^()\[\]:\d]:\s?[+-]?[0-3]|:\s?[+-]?[0-3]?\.\d+)\s?\)"
    r"|\(\([^()]+\)\)"
    r"|\[[^\[\]\d][^\[\]]*\]"
)
#: `<lora:name:0.8>` of the same, and its kin.
NETWORKS = re.compile(r"<(?:lora|lyco|hypernet|embedding):[^<>]{1,200}>", re.IGNORECASE)


def wording(spec: ModelSpec, params: GenerationParams) -> list[str]:
    """What the caller should know of the texts of a request."""
    texts = {"prompt": params.prompt, "negative_prompt": params.negative_prompt}
    defaults = {param.name: param.default for param in spec.parameters}
    own = {name: text for name, text in texts.items() if text and text != defaults.get(name)}
    found = []
    for name, text in own.items():
        plain = ESCAPED.sub("", text)
        if WEIGHTS.search(plain):
            marks = "the marks, as in (word:1.2), ((word)) or [word], are read as text"
            found.append(f"{name}: words can't be weighted; {marks}")
        if NETWORKS.search(plain):
            instead = "send the parameter loras" if "loras" in defaults else "this model offers no LoRAs"
            found.append(f"{name}: <lora:name:1> is read as text; {instead}")
    # Whether another package's sampler needs the negative prompt isn't known here.
    if "negative_prompt" in own and not params.has_negative and params.sampler in (*SAMPLERS, *SD15_SCHEDULERS):
        found.append("negative_prompt: it has no effect at a guidance_scale of 1 or less")
    return found
