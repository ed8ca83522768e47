"""What is refused, and what is legal but poor: samplers with schedules, steps and strength; marks in prompts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tintype.catalog.spec import ModelSpec
from tintype.core import GenerationParams
from tintype.errors import DontFit
from tintype.samplers import SCHEDULES, Advice, known_sampler


def refuse(params: GenerationParams) -> None:
    """Raise DontFit for what could only end in noise."""
    spec = known_sampler(params.sampler)
    if spec and params.steps < spec.min_steps and params.strength > 0:
        raise DontFit(
            f"{params.sampler} needs at least {spec.min_steps} steps, {params.steps} was sent: "
            "with fewer it only returns its noise"
        )


def warnings(params: GenerationParams) -> list[str]:
    """What the caller should know of a legal but poor combination: the sampler's advice, then the schedule's."""
    spec = known_sampler(params.sampler)
    named = {
        "sampler": params.sampler,
        "schedule": params.schedule,
        "steps": params.steps,
        "run": params.steps_run,
    }
    advice = [one for one in spec.advice if _applies(one, params)] if spec else []
    return [*(one.words.format(**named, enough=one.steps_below) for one in advice), *_of_schedule(params)]


def _applies(advice: Advice, params: GenerationParams) -> bool:
    return (
        (not advice.schedules or params.schedule in advice.schedules)
        and params.steps_run < advice.steps_below
        and params.strength < advice.strength_below
        and params.guidance >= advice.guidance_from
    )


def _of_schedule(params: GenerationParams) -> Iterator[str]:
    schedule, steps, spec = params.schedule, params.steps, known_sampler(params.sampler)
    if schedule == "ddim_uniform" and steps == 1 and not (spec and spec.drops_penultimate):
        yield "ddim_uniform with 1 step begins where nothing is left to do"
    if schedule == "ddim_uniform" and steps > 1 and params.strength >= 1:
        yield "ddim_uniform may take more steps than asked for, and does not begin at pure noise"
    if schedule in SCHEDULES and 0 < params.strength < steps / SCHEDULES[schedule].max_steps:
        yield f"a strength this low is rounded up to what {steps} steps of {schedule} can begin at"


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
    if "negative_prompt" in own and not params.has_negative and known_sampler(params.sampler):
        found.append("negative_prompt: it has no effect at a guidance_scale of 1 or less")
    return found + _of_a_refiner(spec, params)


def _of_a_refiner(spec: ModelSpec, params: GenerationParams) -> list[str]:
    """Which parameters of a refiner were sent and have no effect: those that aren't the model's defaults."""
    values = {"high_noise_fraction": params.high_noise_fraction, "refiner_strength": params.refiner_strength}
    own = [one for one in spec.parameters if one.field in values and values[one.field] != one.default]
    if not params.refiner:
        return [f"{one.name}: it has no effect without refiner" for one in own]
    late = params.high_noise_fraction < 1
    return [
        f"{one.name}: it has no effect where high_noise_fraction is below 1"
        for one in own
        if late and one.field == "refiner_strength"
    ]
