"""Samplers and schedules by the names that other programs have for them: the web UI's, and Replicate's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from tintype.catalog.spec import ModelSpec, Param
from tintype.samplers import SCHEDULERS, SCHEDULES
from tintype.web.dialects.common import param_of


@dataclass(frozen=True)
class Method:
    """A sampler."""

    name: str
    #: The SD 3 family's; and the scheduler of diffusers for all other models.
    sampler: str
    scheduler: str
    #: Its other names.
    also: tuple[str, ...] = ()
    #: Which of the two is not it, but the nearest there is.
    near: tuple[str, ...] = ()
    #: Whether lists name it; Replicate's names aren't the web UI's.
    listed: bool = True


@dataclass(frozen=True)
class Chosen:
    """What names mean to a model."""

    #: Values of its parameters that fill `sampler` and `schedule`; empty where it has none, or its default is meant.
    sampler: str
    schedule: str
    #: What differs from what was asked for.
    notes: tuple[str, ...] = ()


#: DIALECTS.md, section 2, in the order of its table; then Replicate's that are none of these.
METHODS = (
    Method("Euler", "euler", "Euler", ("k_euler",)),
    Method("Euler a", "euler_ancestral", "Euler a", ("k_euler_a", "k_euler_ancestral")),
    Method("Heun", "heun", "Heun", ("k_heun", "HeunDiscrete")),
    Method("LMS", "lms", "LMS", ("k_lms", "KLMS")),
    Method("DPM2", "dpm_2", "DPM2 Karras", ("k_dpm_2", "KDPM2Discrete")),
    Method("DPM2 a", "dpm_2_ancestral", "DPM2 a Karras", ("k_dpm_2_a", "KDPM2AncestralDiscrete")),
    Method("DPM++ 2M", "dpmpp_2m", "DPM Multi", ("k_dpmpp_2m", "DPMSolverMultistep")),
    Method("DPM++ 2S a", "dpmpp_2s_ancestral", "DPM Single", ("k_dpmpp_2s_a",), near=("DPM Single",)),
    Method("DPM++ SDE", "dpmpp_sde", "DPM Single", ("k_dpmpp_sde",), near=("DPM Single",)),
    Method("DPM++ 2M SDE", "dpmpp_2m_sde", "DPM Multi", ("k_dpmpp_2m_sde",), near=("DPM Multi",)),
    Method("DPM++ 3M SDE", "dpmpp_3m_sde", "DPM Multi", ("k_dpmpp_3m_sde",), near=("DPM Multi",)),
    Method("DPM fast", "dpm_fast", "DPM Multi", ("k_dpm_fast",), near=("DPM Multi",)),
    Method("DPM adaptive", "dpm_adaptive", "DPM Multi", ("k_dpm_ad",), near=("DPM Multi",)),
    Method("DDIM", "ddim", "DDIM"),
    Method("PLMS", "ipndm", "PNDM", ("PNDM",), near=("ipndm",)),
    Method("UniPC", "uni_pc", "UniPC", ("UniPCMultistep",)),
    Method("LCM", "lcm", "Euler a", ("k_lcm",), near=("Euler a",)),
    Method("DDPM", "ddpm", "DDPM"),
    Method("DEIS", "deis", "DPM Multi", near=("DPM Multi",)),
    Method("IPNDM", "ipndm", "PNDM", near=("PNDM",)),
    Method(
        "DPM Single",
        "dpmpp_2s_ancestral",
        "DPM Single",
        ("DPMSolverSinglestep",),
        near=("dpmpp_2s_ancestral",),
        listed=False,
    ),
)
LISTED = tuple(method.name for method in METHODS if method.listed)

#: Names of schedules → their labels, and the schedule here; empty for a model's default.
AUTOMATIC = "automatic"
SCHEDULE_NAMES: Mapping[str, tuple[str, str]] = {
    AUTOMATIC: ("Automatic", ""),
    "uniform": ("Uniform", "normal"),
    **{{"ddim_uniform": "ddim"}.get(name, name): (row.infotext, name) for name, row in SCHEDULES.items()},
}
#: At the end of a sampler's older names, with the schedule that each stands for.
ENDS = {" karras": "karras", " exponential": "exponential"}
SHORT_ENDS = {"_ka": "karras", "_exp": "exponential"}
#: Characters of a name that a note repeats.
SHOWN = 40


def choose(spec: ModelSpec, sampler: str, schedule: str = "") -> Chosen | None:
    """What a model draws with, by any program's names for them; None for an unknown sampler.

    A model that lets its callers choose neither draws with its own. An unknown schedule is the model's default.
    """
    own = param_of(spec, "sampler")
    method, named = _find(sampler, own)
    if not method:
        return None
    wanted, notes = named or schedule, list[str]()
    value = method if isinstance(method, str) else method.scheduler if _has_schedulers(spec) else method.sampler
    if own is None:
        if value != (fixed := spec.fixed.get("sampler", value)):
            notes.append(f"{spec.slug} draws with {fixed} alone, not with {_shown(sampler)}")
        return Chosen("", "", tuple(notes))
    if isinstance(method, Method) and value in method.near:
        notes.append(f"{spec.slug} has no {method.name}: {value} is the nearest")
    found, theirs, another = schedule_of(wanted), param_of(spec, "schedule"), _means_another(wanted)
    if theirs is None and another and not (found == "karras" and value.endswith(" Karras")):
        notes.append(f"{spec.slug} has schedules of its own: {_shown(wanted)} changes nothing")
    elif theirs is not None and another and not found:
        notes.append(f"the schedule {_shown(wanted)} isn't offered: {theirs.default} is used")
    return Chosen(value, found if theirs is not None else "", tuple(notes))


def schedule_of(name: str) -> str:
    """The SD 3 family's schedule of that name or label; empty for automatic, and for unknown ones."""
    return _schedules().get(name.strip().lower(), "")


def _means_another(schedule: str) -> bool:
    return schedule.strip().lower() not in ("", AUTOMATIC)


@cache
def _schedules() -> Mapping[str, str]:
    labels = {label.lower(): own for label, own in SCHEDULE_NAMES.values()}
    return {**{name: name for name in SCHEDULES}, **labels, **{name: own for name, (_, own) in SCHEDULE_NAMES.items()}}


def _find(name: str, own: Param | None) -> tuple[Method | str, str]:
    """A name's sampler, the model's own first, and the schedule that it ends with; an empty name for an unknown one."""
    if own is not None:
        for offered in map(str, own.accepted):
            if offered.lower() == name.strip().lower():
                return own.aliases.get(offered, offered), ""
    for base, schedule in _readings(name.strip().lower()):
        if base in _methods():
            return _methods()[base], schedule
    return "", ""


def _readings(name: str) -> Iterator[tuple[str, str]]:
    for end, schedule in (ENDS | SHORT_ENDS).items():
        if name.endswith(end) and (end in ENDS or name.startswith("k_")):
            yield name.removesuffix(end).strip(), schedule
    yield name, ""


@cache
def _methods() -> Mapping[str, Method]:
    """By every name, in small letters; the table's names before ours, which several rows share."""
    found = {name.lower(): method for method in METHODS for name in (method.name, *method.also)}
    for method in METHODS:
        for name in (method.sampler, method.scheduler):
            if name not in method.near:
                found.setdefault(name.lower(), method)
    return found


def _has_schedulers(spec: ModelSpec) -> bool:
    """Whether it draws with diffusers' schedulers, not with the SD 3 family's samplers."""
    own = param_of(spec, "sampler")
    return any(value in SCHEDULERS for value in (own.choices if own else (spec.fixed.get("sampler"),)))


def _shown(name: str) -> str:
    """A caller's text for a note, which is sent in a header."""
    return ascii(name.strip()[:SHOWN])
