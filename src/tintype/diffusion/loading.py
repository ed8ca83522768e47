"""Components into memory: built without numbers, then given those that lie on disk."""

from __future__ import annotations

from typing import Any

import torch

from tintype.checkpoints.component import Component
from tintype.checkpoints.files import Tensors
from tintype.diffusion.conversion import in_format
from tintype.diffusion.libraries import CLASSES, find_class
from tintype.errors import WeightsUnusable


def load(component: Component, dtype: torch.dtype) -> Any:
    """A network on the CPU, its tensors mapped from disk where they are stored in that number format.

    Raises WeightsUnusable.
    """
    # Ordinary tensors, whoever asks: those made in inference mode can't be given to a network outside of it.
    with torch.inference_mode(False), torch.no_grad():
        model = build(component)
        assign(model, component, in_format(component, dtype))
        return model.eval()


def class_of(component: Component) -> Any:
    """The class that runs a network; raises WeightsUnusable where it isn't supported."""
    if component.class_name not in CLASSES:
        raise WeightsUnusable(
            f"component {component.name}: {component.class_name} is not supported; known are {', '.join(CLASSES)}"
        )
    return find_class(component.class_name)


def build(component: Component) -> Any:
    """A network on the meta device: every shape, no numbers, no memory; raises WeightsUnusable."""
    kind = class_of(component)
    own = {key: value for key, value in component.config.items() if key != "_name_or_path"}
    with torch.device("meta"):
        is_text = CLASSES[component.class_name].startswith("transformers.")
        model = kind(kind.config_class(**own)) if is_text else kind.from_config(own)
    return model.requires_grad_(False)


def assign(model: Any, component: Component, tensors: Tensors) -> None:
    """Put tensors in the place of a built network's, without a copy; raises WeightsUnusable that names what differs."""
    try:
        unknown = model.load_state_dict(tensors, strict=False, assign=True).unexpected_keys
    except RuntimeError as error:
        raise WeightsUnusable(f"component {component.name}: {_first_detail(error)}") from error
    if hasattr(model, "tie_weights"):
        model.tie_weights()
    absent = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    if absent or unknown:
        raise WeightsUnusable(f"component {component.name}: {_differences(absent, unknown)}")
    _fill_positions(model)


def _fill_positions(model: Any) -> None:
    """Set the one buffer that no file holds: the numbers of CLIP's tokens."""
    for name, buffer in model.named_buffers():
        if buffer.is_meta and name.endswith("position_ids"):
            owner = model.get_submodule(name.rpartition(".")[0])
            owner.position_ids = torch.arange(buffer.shape[-1]).expand(buffer.shape)


def _differences(absent: list[str], unknown: list[str]) -> str:
    """Some of the tensors that are missing, and some that there is no place for."""
    parts = [
        f"{len(names)} tensors {word}, such as {names[0]}"
        for names, word in ((absent, "are missing"), (unknown, "have no place in it"))
        if names
    ]
    return " and ".join(parts)


def _first_detail(error: RuntimeError) -> str:
    """The first mismatch that torch names, below its headline."""
    lines = str(error).splitlines()
    return lines[min(1, len(lines) - 1)].strip()
