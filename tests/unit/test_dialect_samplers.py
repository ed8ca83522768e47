"""The names that other programs have for samplers and schedules, as models take them."""

from __future__ import annotations

import pytest

from tintype.catalog.models import MODELS
from tintype.samplers import SAMPLERS, SCHEDULERS, SCHEDULES
from tintype.web.dialects.samplers import LISTED, METHODS, SCHEDULE_NAMES, Chosen, choose

SD3, SD15 = MODELS["stable-diffusion-3.5-turbo-txt2img"], MODELS["sd1.5-img2img"]
FIXED = MODELS["stable-diffusion-3-turbo-img2img"]


def test_the_table_names_what_there_is() -> None:
    assert {method.sampler for method in METHODS} <= SAMPLERS.keys()
    assert {method.scheduler for method in METHODS} <= SCHEDULERS.keys()
    assert {own for _, own in SCHEDULE_NAMES.values()} == {"", *SCHEDULES}
    names = [name.lower() for method in METHODS for name in (method.name, *method.also)]
    assert len(names) == len({*names}), "a name means one of them"
    assert len(LISTED) == 20


@pytest.mark.parametrize(
    ("asked", "sd3", "sd15", "near"),
    [
        ("Euler", "euler", "Euler", ""),
        ("euler a", "euler_ancestral", "Euler a", ""),
        ("k_euler_ancestral", "euler_ancestral", "Euler a", ""),
        ("DPM++ 2S a", "dpmpp_2s_ancestral", "DPM Single", "sd15"),
        ("PLMS", "ipndm", "PNDM", "sd3"),
        ("IPNDM", "ipndm", "PNDM", "sd15"),
        ("LCM", "lcm", "Euler a", "sd15"),
        ("DPM2", "dpm_2", "DPM2 Karras", ""),
        ("dpmpp_2m", "dpmpp_2m", "DPM Multi", ""),
        ("DPM Multi", "dpmpp_2m", "DPM Multi", ""),
        ("K_EULER", "euler", "Euler", ""),
        ("DPMSolverMultistep", "dpmpp_2m", "DPM Multi", ""),
        ("DPMSolverSinglestep", "dpmpp_2s_ancestral", "DPM Single", "sd3"),
        ("PNDM", "ipndm", "PNDM", "sd3"),
        ("KDPM2AncestralDiscrete", "dpm_2_ancestral", "DPM2 a Karras", ""),
    ],
)
def test_a_name_is_the_model_s_sampler_or_the_nearest_with_a_note(asked: str, sd3: str, sd15: str, near: str) -> None:
    for spec, value, which in ((SD3, sd3, "sd3"), (SD15, sd15, "sd15")):
        found = choose(spec, asked)
        assert found is not None
        assert found.sampler == value
        assert [f"{value} is the nearest" in note for note in found.notes] == ([True] if near == which else [])


@pytest.mark.parametrize(
    ("sampler", "schedule", "expected"),
    [
        ("DPM++ 2M Karras", "", ("dpmpp_2m", "karras")),
        ("DPM++ 2M Karras", "automatic", ("dpmpp_2m", "karras")),
        ("DPM++ 2M SDE Exponential", "Automatic", ("dpmpp_2m_sde", "exponential")),
        ("DPM2 a Karras", "", ("dpm_2_ancestral", "karras")),
        ("k_dpmpp_2m_ka", "", ("dpmpp_2m", "karras")),
        ("Euler", "SGM uniform", ("euler", "sgm_uniform")),
        ("Euler", "DDIM", ("euler", "ddim_uniform")),
        ("Euler", "ddim_uniform", ("euler", "ddim_uniform")),
        ("Euler", "Uniform", ("euler", "normal")),
        ("heunpp2", "beta", ("heunpp2", "beta")),
    ],
)
def test_a_schedule_is_the_name_s_end_or_its_own_field(sampler: str, schedule: str, expected: tuple[str, str]) -> None:
    assert choose(SD3, sampler, schedule) == Chosen(*expected)


def test_what_a_model_has_not_is_said_not_refused() -> None:
    found = choose(SD3, "Euler", "polyexponential")
    assert found == Chosen("euler", "", ("the schedule 'polyexponential' isn't offered: sgm_uniform is used",))
    found = choose(SD15, "DPM++ 2M Karras")
    note = "sd1.5-img2img has schedules of its own: 'karras' changes nothing"
    assert found == Chosen("DPM Multi", "", (note,))
    assert choose(SD15, "DPM2 Karras") == choose(SD15, "DPM2", "Karras") == Chosen("DPM2 Karras", "")
    assert choose(FIXED, "Euler", "") == Chosen("", "")
    found = choose(FIXED, "Heun")
    assert found is not None
    assert found.notes == ("stable-diffusion-3-turbo-img2img draws with euler alone, not with 'Heun'",)


@pytest.mark.parametrize("name", ["nope", "", "euler karras karras", "Karras"])
def test_what_nobody_knows(name: str) -> None:
    assert choose(SD3, name) is None
