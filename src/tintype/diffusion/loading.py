"""Components into memory: built without numbers, then given those that lie on disk."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from tintype.checkpoints.checkpoint import Checkpoint
from tintype.checkpoints.component import Component
from tintype.checkpoints.files import Tensors
from tintype.diffusion.conversion import in_format
from tintype.diffusion.libraries import CLASSES, find_class
from tintype.errors import WeightsUnusable

#: Layers in a row, and numbers along any side, of which no published network has nearly as many: building more of them
#: would take for ever.
MOST_LAYERS, LARGEST = 1000, 10_000_000
#: How configurations call numbers of layers.
LAYERS = re.compile(r"layers(?!_attention)|(num|layers_per)_.*blocks?$")


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
    own = _settings(component)
    with understood(component.class_name), torch.device("meta"):
        is_text = CLASSES[component.class_name].startswith("transformers.")
        model = kind(kind.config_class(**own)) if is_text else kind.from_config(own)
    return model.requires_grad_(False)


def whole_config(component: Component) -> dict[str, Any]:
    """A network's configuration, with what its class takes for granted; raises WeightsUnusable."""
    kind, own = class_of(component), _settings(component)
    if not hasattr(kind, "config_class"):
        parameters = inspect.signature(kind.__init__).parameters.values()
        return {parameter.name: parameter.default for parameter in parameters} | own
    with understood(component.class_name):
        return {**kind.config_class(**own).to_dict()}


def open_tokenizer(checkpoint: Checkpoint, name: str) -> Any:
    """A tokenizer whose every token its text encoder knows; raises WeightsUnusable."""
    folder = checkpoint.tokenizer(name)
    encoder = checkpoint.component(name.replace("tokenizer", "text_encoder"))
    if folder is None or encoder is None:
        raise WeightsUnusable(checkpoint.missing_message(name))
    with understood("a tokenizer"):
        kind = find_class("T5Tokenizer" if name == "tokenizer_3" else "CLIPTokenizer")
        tokenizer = kind.from_pretrained(folder, local_files_only=True)
        highest = max(tokenizer.get_vocab().values())
        longest = tokenizer.model_max_length
        tokenizer(["a fox"], padding="max_length", max_length=8, truncation=True, return_tensors="pt")
    config = whole_config(encoder)
    if highest >= config["vocab_size"]:
        words = f"it has tokens up to {highest}, and {encoder.name} knows {config['vocab_size']} (vocab_size)"
        raise WeightsUnusable(f"component {name}: {words}")
    positions = config.get("max_position_embeddings")
    if positions is not None and longest != positions:  # SD 3's two lie side by side
        words = f"its texts (model_max_length) have {longest:,} tokens, and {encoder.name} takes {positions:,}"
        raise WeightsUnusable(f"component {name}: {words} (max_position_embeddings)")
    return tokenizer


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Raise WeightsUnusable where the block raises: the libraries have all kinds of errors for what makes no sense.

    Their messages name folders of this machine: they go to the log through the cause.
    """
    try:
        yield
    except WeightsUnusable:
        raise
    except Exception as error:
        raise WeightsUnusable(f"its configuration is not one of {what}: {type(error).__name__}") from error


def _settings(component: Component) -> dict[str, Any]:
    """What the configuration says of the network's build; raises WeightsUnusable where no network is as large."""
    # Beginning with _ are its history, and which kernels of attention it should be run with: that is ours to choose.
    own = {key: value for key, value in component.config.items() if not key.startswith("_") or key == "_class_name"}
    own.pop("attn_implementation", None)
    for key, value in own.items():
        most = MOST_LAYERS if LAYERS.search(key) else LARGEST
        sides = value if isinstance(value, list | tuple) else [value]
        if len(sides) > MOST_LAYERS or any(isinstance(side, int) and abs(side) > most for side in sides):
            raise WeightsUnusable(f"its configuration is not one of {component.class_name}: {key} is out of range")
    return own


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
