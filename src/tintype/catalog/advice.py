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
#: diffusers. Steps that are run, int(steps * strength), up to which that leaves noise in the image.
LEAVES_NOISE = {"LMS": 7, "PNDM": 2}

#: When, and what to say then.
POOR: tuple[tuple[Callable[[GenerationParams], bool], str], ...] = (
    (
        lambda order: order.sampler in ("dpm_fast", "dpm_adaptive") and order.schedule in (*COARSE_ENDS, "beta"),
        "{sampler} ends above sigma 0 and leaves visible noise with {schedule}; karras or exponential leave none",
    ),
    (lambda order: order.sampler == "dpm_adaptive", "dpm_adaptive chooses its own steps"),
    (
        lambda order: (
            order.sampler.startswith(("dpmpp_2m_sde", "dpmpp_3m_sde"))
            and order.schedule in WIDE_GAPS
            and order.steps < MANY_STEPS
        ),
        "{sampler} has far too much contrast with {schedule} below 50 steps; karras suits it",
    ),
    (
        lambda order: order.sampler == "dpmpp_2m" and order.schedule in WIDE_GAPS,
        "{sampler} is much less exact with {schedule} than with sgm_uniform or karras",
    ),
    (
        lambda order: order.schedule == "ddim_uniform" and order.steps == 1 and not order.sampler.startswith(LEAPING),
        "ddim_uniform with 1 step begins where nothing is left to do",
    ),
    (
        lambda order: order.schedule == "ddim_uniform" and order.steps > 1 and order.strength >= 1,
        "ddim_uniform may take more steps than asked for, and does not begin at pure noise",
    ),
    (
        lambda order: order.sampler.startswith(LEAPING) and order.steps < FEW_STEPS.get(order.schedule, 0),
        "{sampler} is poor with {schedule} at {steps} steps; {enough} or more, or exponential with 5 or more, suit it",
    ),
    (
        lambda order: (
            (order.sampler == "uni_pc" and order.schedule == "karras" and order.steps < 6)
            or (order.sampler == "ipndm_v" and order.schedule == "beta" and order.steps < 10)
            or (order.sampler == "dpm_2_ancestral" and order.schedule in FINE_ENDS and order.steps < 5)
            or (order.sampler == "dpm_fast" and order.steps < 4)
        ),
        "{sampler} is poor with {schedule} at {steps} steps; more suit it",
    ),
    (
        lambda order: order.sampler == "ddpm" and order.schedule in FINE_ENDS,
        "ddpm leaves noise with {schedule}; sgm_uniform suits it",
    ),
    (
        lambda order: (
            0 < order.strength < order.steps / FINEST.get(order.schedule, FINEST_OTHERWISE) and bool(order.schedule)
        ),
        "a strength this low is rounded up to what {steps} steps of {schedule} can begin at",
    ),
    (
        lambda order: order.strength < 1 and int(order.steps * order.strength) <= LEAVES_NOISE.get(order.sampler, -1),
        "{sampler} leaves noise where fewer than {clean} steps are run, at this strength {run} of {steps}; "
        "DPM Multi and Euler leave none",
    ),
    (lambda order: order.sampler == "lcm", "lcm is meant for consistency models; with others it is smooth and flat"),
    (
        lambda order: order.sampler.endswith("cfg_pp") and order.guidance >= STRONG,
        "{sampler} is meant for guidance from 1 to 2",
    ),
)


def refuse(order: GenerationParams) -> None:
    """Raise BadRequest for what could only end in noise."""
    if order.sampler in NEED_TWO_STEPS and order.steps < 2 and order.strength > 0:
        raise BadRequest(f"{order.sampler} needs at least 2 steps, 1 was sent: with one it only returns its noise")


def warnings(order: GenerationParams) -> list[str]:
    """What the caller should know of a legal but poor combination."""
    named = {
        "sampler": order.sampler,
        "schedule": order.schedule,
        "steps": order.steps,
        "run": int(order.steps * order.strength),
        "enough": FEW_STEPS.get(order.schedule, 0),
        "clean": LEAVES_NOISE.get(order.sampler, 0) + 1,
    }
    return [words.format(**named) for applies, words in POOR if applies(order)]


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


def wording(spec: ModelSpec, order: GenerationParams) -> list[str]:
    """What the caller should know of the texts of a request."""
    texts = {"prompt": order.prompt, "negative_prompt": order.negative_prompt}
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
    if "negative_prompt" in own and not order.has_negative and order.sampler in (*SAMPLERS, *SD15_SCHEDULERS):
        found.append("negative_prompt: it has no effect at a guidance_scale of 1 or less")
    return found
