"""Components into memory: built without numbers, then given those that lie on disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
import torch

from tintype.checkpoints.component import Component
from tintype.checkpoints.files import Tensors, map_files
from tintype.checkpoints.lora import merge
from tintype.checkpoints.weights import CACHE
from tintype.diffusion.libraries import CLASSES, find_class, import_spared, without_compiler
from tintype.errors import WeightsUnusable

log = structlog.get_logger()

#: Bytes from which a converted copy is kept on disk: smaller ones are converted in no time.
WORTH_KEEPING = 256 * 2**20


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
    with torch.device("meta"), without_compiler():  # which arithmetic on the meta device would import
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


def in_format(component: Component, dtype: torch.dtype) -> Tensors:
    """The component's tensors with its LoRAs merged, all in one number format; raises WeightsUnusable.

    LoRAs of one request are added to what is there without them, and that isn't kept: there may be any number of them.
    """
    passing = tuple(lora for lora in component.loras if lora.passing)
    lasting = tuple(lora for lora in component.loras if not lora.passing)
    tensors = _prepared(component.adapted(lasting), dtype)
    return merge(component.name, tensors, passing, dtype) if passing else tensors


def _prepared(component: Component, dtype: torch.dtype) -> Tensors:
    """A large conversion is done once and kept beside the file: it takes twenty times as long as the load itself."""
    outline = component.outline()
    if not component.loras and not component.narrow and all(one.dtype == dtype for one in outline.values()):
        return component.stored()
    kept = component.files[0].parent / CACHE / f"{component.name}-{component.identity}-{_word(dtype)}.safetensors"
    if kept.exists():
        return map_files([kept])
    converted = merge(component.name, component.stored(), component.loras, dtype)
    if sum(tensor.numel() for tensor in outline.values()) * dtype.itemsize < WORTH_KEEPING:
        return converted
    _keep(converted, kept)
    return map_files([kept]) if kept.exists() else converted


def _keep(tensors: Tensors, path: Path) -> None:
    """Write a file that appears under its name only when it is whole; a folder that can't be written is no error."""
    save: Callable[..., None] = import_spared("safetensors.torch").save_file
    half = None
    try:
        path.parent.mkdir(exist_ok=True)
        handle, half = tempfile.mkstemp(dir=path.parent, suffix=".half")
        os.close(handle)
        save({name: tensor.contiguous() for name, tensor in tensors.items()}, half, metadata={"format": "pt"})
        Path(half).replace(path)
    except (OSError, RuntimeError) as error:
        log.warning("converted weights can't be kept; they are converted at every load", cause=type(error).__name__)
        if half:
            Path(half).unlink(missing_ok=True)


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


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
