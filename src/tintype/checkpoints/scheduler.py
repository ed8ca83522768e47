"""What a checkpoint's scheduler configuration says of the weights: how they were trained, whichever scheduler wrote it.

The rest of such a file is one scheduler's own settings (a solver's type, Karras sigmas, thresholds for pixels). Handed
on to another scheduler they change its pictures, or keep it from working at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tintype.checkpoints.weights import is_number
from tintype.errors import WeightsUnusable

Config = Mapping[str, Any]


def trained_with(config: Config, family: str) -> dict[str, Any]:
    """What of a scheduler's configuration belongs to the weights; raises WeightsUnusable where it can't be theirs."""
    said = {key: value for key, value in config.items() if value is not None}
    return _diffusion(said) if family == "sd15" else _flow(said)


def _diffusion(config: Config) -> dict[str, Any]:
    """Of DDPM and all its kin: the noise of the training, what is predicted, where the steps lie."""
    if _flows(config):
        raise _unusable(config, "is for another kind of model: SD 1.5's has beta_start, beta_end and beta_schedule")
    trained = {key: config[key] for key in TRAINED if key in config}
    for key, value in trained.items():
        allowed, words = TRAINED[key]
        if not allowed(value):
            raise _unusable(config, f"{key} is {str(value)[:40]}; allowed: {words}")
    steps = trained.get("num_train_timesteps", 1000)
    if len(trained.get("trained_betas", range(steps))) != steps:
        raise _unusable(config, f"trained_betas must have {steps} numbers, one for every step of the training")
    if trained.get("steps_offset", 0) >= steps // MOST_STEPS:
        raise _unusable(config, f"steps_offset must be below {steps // MOST_STEPS}, for {MOST_STEPS} steps to fit in")
    return trained


def _flow(config: Config) -> dict[str, Any]:
    """Of a rectified flow: its shift, which has another name where another scheduler is set to flows."""
    if not _flows(config):
        raise _unusable(config, "is for another kind of model: SD 3's has a shift, and no betas")
    shift = config.get("shift", config.get("flow_shift", 3.0))
    if not is_number(shift) or not 0 < shift <= MOST_SHIFT:
        raise _unusable(config, f"shift is {str(shift)[:40]}; allowed: a number above 0, up to {MOST_SHIFT}")
    return {"shift": shift}


def _flows(config: Config) -> bool:
    """Whether it is no diffusion's: without betas, or with a switch that puts them out of use."""
    return bool(config.get("use_flow_sigmas")) or not config.keys() & {"beta_schedule", "trained_betas"}


def _unusable(config: Config, what: str) -> WeightsUnusable:
    return WeightsUnusable(f"the scheduler's configuration ({config.get('_class_name', 'no class named')}): {what}")


def _beta(value: Any) -> bool:
    return is_number(value) and 0 < value < 1


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _among(*names: str) -> tuple[Callable[[Any], bool], str]:
    return (lambda value: value in names), f"one of {', '.join(names)}"


#: Steps that a request may have (a recipe that is replayed may have more), and steps of a training.
MOST_STEPS, LONGEST_TRAINING = 100, 100_000
MOST_SHIFT = 100
#: The keys that belong to SD 1.5's weights; what each may be, as a test and in words.
TRAINED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "num_train_timesteps": (
        lambda value: type(value) is int and MOST_STEPS <= value <= LONGEST_TRAINING,
        f"a whole number from {MOST_STEPS} to {LONGEST_TRAINING}",
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
