"""The part of a checkpoint's scheduler configuration that belongs to the weights: how they were trained.

The rest of such a file is one scheduler's own settings (a solver's type, Karras sigmas, thresholds for pixels). They
would change the images of another scheduler, or break it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

from tintype.errors import WeightsUnusable
from tintype.families.spec import Config

#: Sampling for v-prediction with a schedule that ends in pure noise (Lin et al. 2024, § 3).
ZERO_TERMINAL = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


def is_number(value: object) -> bool:
    """Whether it is a finite number that a float can hold, and no boolean."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # type: ignore[arg-type]


def noise_training(config: Config) -> dict[str, Any]:
    """Of DDPM and its relatives: the training's noise, what is predicted, the spacing of steps."""
    config = _present(config)
    if _is_flow(config):
        raise _unusable(config, "is for another kind of model: this one's has beta_start, beta_end and beta_schedule")
    trained = {key: config[key] for key in TRAINED if key in config}
    for key, value in trained.items():
        allowed, words = TRAINED[key]
        if not allowed(value):
            raise _unusable(config, f"{key} is {str(value)[:40]}; allowed: {words}")
    steps = trained.get("num_train_timesteps", 1000)
    if len(trained.get("trained_betas", range(steps))) != steps:
        raise _unusable(config, f"trained_betas must have {steps} numbers, one for each step of the training")
    if trained.get("steps_offset", 0) >= steps // MAX_STEPS:
        raise _unusable(config, f"steps_offset must be below {steps // MAX_STEPS}, so that {MAX_STEPS} steps fit")
    return trained


def prediction_marks(names: Collection[str], metadata: Mapping[str, str]) -> dict[str, Any]:
    """Fine-tunes that predict v have empty tensors `v_pred` and `ztsnr` as marks, or say it in the header."""
    if "v_pred" not in names and metadata.get("modelspec.prediction_type") not in ("v", "v_prediction"):
        return {}
    return {"prediction_type": "v_prediction", **(ZERO_TERMINAL if "ztsnr" in names else {})}


def flow_training(config: Config) -> dict[str, Any]:
    """Of a rectified flow: its shift, which is `flow_shift` for diffusion schedulers that are set to flows."""
    config = _present(config)
    if not _is_flow(config):
        raise _unusable(config, "is for another kind of model: this one's has a shift, and no betas")
    shift = config.get("shift", config.get("flow_shift", 3.0))
    if not is_number(shift) or not 0 < shift <= MAX_SHIFT:
        raise _unusable(config, f"shift is {str(shift)[:40]}; allowed: a number above 0, up to {MAX_SHIFT}")
    return {"shift": shift}


def _present(config: Config) -> Config:
    return {key: value for key, value in config.items() if value is not None}


def _is_flow(config: Config) -> bool:
    """Whether it has no betas, or a switch that disables them."""
    return bool(config.get("use_flow_sigmas")) or not config.keys() & {"beta_schedule", "trained_betas"}


def _unusable(config: Config, problem: str) -> WeightsUnusable:
    return WeightsUnusable(f"the scheduler's configuration ({config.get('_class_name', 'no class named')}): {problem}")


def _beta(value: Any) -> bool:
    return is_number(value) and 0 < value < 1


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _among(*names: str) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value in names), f"one of {', '.join(names)}"


#: Of a request (a replayed recipe may have more), and of a training.
MAX_STEPS, MAX_TRAINING_STEPS = 100, 100_000
MAX_SHIFT = 100
#: The keys that belong to weights that were trained on noise: a test of the value, and the allowed values in words.
TRAINED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "num_train_timesteps": (
        lambda value: type(value) is int and MAX_STEPS <= value <= MAX_TRAINING_STEPS,
        f"a whole number from {MAX_STEPS} to {MAX_TRAINING_STEPS}",
    ),
    "beta_start": (_beta, "a number between 0 and 1"),
    "beta_end": (_beta, "a number between 0 and 1"),
    "beta_schedule": _among("linear", "scaled_linear", "squaredcos_cap_v2"),
    "trained_betas": (
        lambda value: isinstance(value, list) and all(map(_beta, value)),
        "a list of numbers between 0 and 1",
    ),
    "prediction_type": _among("epsilon", "v_prediction"),
    "rescale_betas_zero_snr": (_flag, "true or false"),
    "timestep_spacing": _among("leading", "linspace", "trailing"),
    "steps_offset": (lambda value: type(value) is int and value >= 0, "a whole number from 0 on"),
    "set_alpha_to_one": (_flag, "true or false"),
}
