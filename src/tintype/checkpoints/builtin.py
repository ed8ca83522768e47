"""Where the built-in weights lie: trained by `training/`, shipped inside the package in the ordinary layout."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from tintype.checkpoints.weights import TRAITS, Lora, Weights
from tintype.errors import WeightsUnusable

LORA = "pytorch_lora_weights.safetensors"
SHIPPED = Path(str(files("tintype") / "weights"))


def has_builtin(family: str) -> bool:
    """Whether a family has built-in weights."""
    return (SHIPPED / family / TRAITS).is_file()


def builtin_weights(family: str, *, few_steps: bool = False) -> Weights:
    """A family's built-in weights; `few_steps` adds the LoRA that draws in four steps without guidance.

    Raises WeightsUnusable for a family that has none.
    """
    if not has_builtin(family):
        raise WeightsUnusable(f"no weights are configured, and the family {family} has no built-in ones")
    loras = (Lora(SHIPPED / "turbo" / LORA),) if few_steps else ()
    return Weights(SHIPPED / family, loras, builtin=True)
