"""What the catalogue says of samplers is what the samplers themselves say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tintype.catalog.advice import refuse, warnings
from tintype.catalog.parameters import planned_steps
from tintype.core import GenerationParams
from tintype.diffusion.samplers.spec import count, plan
from tintype.diffusion.schedules import Flow
from tintype.errors import BadRequest
from tintype.samplers import SAMPLERS

ORDER = GenerationParams(steps=20, guidance=1.0, seed=1, sampler="euler", schedule="sgm_uniform")


def test_what_is_refused() -> None:
    for name in ("uni_pc", "uni_pc_bh2", "dpm_fast", "dpm_adaptive"):
        refuse(replace(ORDER, sampler=name, steps=2))
        refuse(replace(ORDER, sampler=name, steps=1, strength=0))
        with pytest.raises(BadRequest, match=f"{name} needs at least 2 steps"):
            refuse(replace(ORDER, sampler=name, steps=1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampler": "dpm_fast"}, "dpm_fast ends above sigma 0"),
        ({"sampler": "dpmpp_3m_sde_gpu", "schedule": "normal"}, "far too much contrast with normal"),
        ({"schedule": "ddim_uniform"}, "may take more steps"),
        ({"sampler": "uni_pc", "steps": 4}, "uni_pc is poor with sgm_uniform at 4 steps"),
        ({"sampler": "dpm_2", "steps": 11, "schedule": "simple"}, "dpm_2 is poor with simple at 11 steps; 12 or more"),
        (
            {"sampler": "uni_pc_bh2", "steps": 7, "schedule": "beta"},
            "uni_pc_bh2 is poor with beta at 7 steps; 8 or more",
        ),
        ({"sampler": "uni_pc", "steps": 4, "schedule": "karras"}, "uni_pc is poor with karras at 4 steps"),
        ({"sampler": "ipndm_v", "steps": 8, "schedule": "beta"}, "ipndm_v is poor with beta at 8 steps"),
        ({"sampler": "dpm_2_ancestral", "steps": 4, "schedule": "exponential"}, "is poor with exponential at 4 steps"),
        ({"sampler": "dpm_fast", "steps": 3, "schedule": "karras"}, "dpm_fast is poor with karras at 3 steps"),
        ({"sampler": "dpmpp_2m_sde", "schedule": "ddim_uniform"}, "far too much contrast with ddim_uniform"),
        ({"sampler": "euler_cfg_pp", "guidance": 7.0}, "guidance from 1 to 2"),
        (
            {"sampler": "LMS", "schedule": "", "strength": 0.3},
            "fewer than 8 steps are run, at this strength 6 of 20",
        ),
        ({"sampler": "PNDM", "schedule": "", "strength": 0.1, "steps": 29}, "PNDM leaves noise"),
    ],
)
def test_what_is_poor_is_said(changes: dict[str, object], words: str) -> None:
    assert words in "; ".join(warnings(replace(ORDER, **changes)))


def test_a_strength_too_low_for_the_finest_schedule_is_said() -> None:
    assert "rounded up" in "; ".join(warnings(replace(ORDER, steps=100, strength=0.05, schedule="simple")))
    assert "rounded up" in "; ".join(warnings(replace(ORDER, steps=100, strength=0.005)))
    assert warnings(replace(ORDER, steps=100, strength=0.05)) == []
    assert warnings(replace(ORDER, strength=0.0)) == []


def test_what_is_good_is_not_warned_of() -> None:
    assert warnings(ORDER) == []
    assert warnings(replace(ORDER, sampler="dpmpp_2m")) == []
    assert warnings(replace(ORDER, sampler="DDIM", schedule="")) == []
    assert warnings(replace(ORDER, sampler="LMS", schedule="")) == []
    assert warnings(replace(ORDER, sampler="LMS", schedule="", strength=0.4)) == []
    assert warnings(replace(ORDER, sampler="PNDM", schedule="", strength=0.1, steps=30)) == []
    assert warnings(replace(ORDER, sampler="dpm_2", schedule="karras", steps=4)) == []
    assert warnings(replace(ORDER, sampler="lms", steps=4)) == []


@pytest.mark.parametrize("sampler", sorted(SAMPLERS.keys() - {"dpm_adaptive"}))
@pytest.mark.parametrize("steps", [2, 3, 20])
def test_planned_steps_are_the_samplers_own(sampler: str, steps: int) -> None:
    method, space = SAMPLERS[sampler], Flow(3.0)
    own = count(method, plan(method, "normal", steps, 1.0, space), space)
    assert planned_steps(replace(ORDER, sampler=sampler, schedule="normal", steps=steps)) == own
