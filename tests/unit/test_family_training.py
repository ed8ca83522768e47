"""Of a scheduler's configuration, what belongs to the weights is taken; what can't be theirs is refused."""

from __future__ import annotations

from typing import Any

import pytest

from tintype.errors import WeightsUnusable
from tintype.families.training import flow_training, noise_training

#: As published with Stable Diffusion 1.5, but for its scheduler's own settings.
OWN: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "set_alpha_to_one": False,
}
#: What fine-tunes' files have besides, by the scheduler that wrote them.
FOREIGN: dict[str, dict[str, Any]] = {
    "DEISMultistepScheduler": {"algorithm_type": "deis", "solver_type": "logrho", "solver_order": 2},
    "DPMSolverMultistepScheduler": {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True, "solver_order": 3},
    "DPMSolverSDEScheduler": {"use_karras_sigmas": True, "noise_sampler_seed": 0},
    "UniPCMultistepScheduler": {"solver_type": "bh1", "predict_x0": False, "disable_corrector": [0]},
    "EulerDiscreteScheduler": {"interpolation_type": "log_linear", "use_exponential_sigmas": True, "sigma_max": 9.0},
    "DDPMScheduler": {"clip_sample": True, "variance_type": "learned_range", "thresholding": True},
    "DDIMScheduler": {"clip_sample": True, "clip_sample_range": 1.0, "sample_max_value": 1.0},
    "LCMScheduler": {"original_inference_steps": 50, "timestep_scaling": 10.0},
    "TCDScheduler": {"original_inference_steps": 50, "rescale_betas_zero_snr": None},
    "PNDMScheduler": {"skip_prk_steps": False, "trained_betas": None},
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_scheduler_s_own_settings_are_left_behind(name: str) -> None:
    assert noise_training({"_class_name": name, **OWN, **FOREIGN[name]}) == OWN


def test_what_the_weights_were_trained_with_is_kept() -> None:
    said = {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
        "trained_betas": [0.01] * 1000,
    }
    assert noise_training(OWN | said) == OWN | said


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}, "is for another kind of model"),
        ({"_class_name": "EDMEulerScheduler", "sigma_data": 0.5}, "EDMEulerScheduler.*is for another kind of model"),
        ({}, "is for another kind of model"),
        (OWN | {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}, "is for another kind of model"),
        (OWN | {"prediction_type": "sample"}, "prediction_type is sample; allowed: one of epsilon, v_prediction"),
        (OWN | {"beta_schedule": "laplace"}, "beta_schedule is laplace; allowed: one of linear"),
        (OWN | {"beta_end": "0.012"}, "beta_end is 0.012; allowed: a number between 0 and 1"),
        (OWN | {"beta_start": float("nan")}, "beta_start is nan; allowed: a number"),
        (OWN | {"beta_start": 10**400}, "beta_start is 10000.*; allowed: a number"),
        (OWN | {"num_train_timesteps": 0}, "num_train_timesteps is 0; allowed: a whole number from 100"),
        (OWN | {"trained_betas": [0.1, 0.2]}, "trained_betas must have 1000 numbers"),
        (OWN | {"trained_betas": "no"}, "trained_betas is no; allowed: a list of numbers"),
        (OWN | {"timestep_spacing": ["leading"]}, "timestep_spacing is .*; allowed: one of leading"),
        (OWN | {"steps_offset": 10}, "steps_offset must be below 10"),
        (OWN | {"rescale_betas_zero_snr": "yes"}, "rescale_betas_zero_snr is yes; allowed: true or false"),
    ],
)
def test_what_can_not_be_the_weights_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(WeightsUnusable, match=words):
        noise_training(config)


def test_a_flow_has_a_shift_by_either_name() -> None:
    assert flow_training({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 1.0}) == {"shift": 1.0}
    assert flow_training({"num_train_timesteps": 1000}) == {"shift": 3.0}
    assert flow_training(OWN | {"use_flow_sigmas": True, "flow_shift": 2}) == {"shift": 2}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (OWN, "is for another kind of model"),
        ({"shift": 0}, "shift is 0; allowed: a number above 0"),
        ({"shift": "3"}, "shift is 3; allowed"),
        ({"shift": float("inf")}, "shift is inf; allowed"),
    ],
)
def test_what_is_no_flow_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(WeightsUnusable, match=words):
        flow_training(config)
