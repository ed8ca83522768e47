"""A checkpoint's components, opened as a family needs them: weights are loaded at their first forward pass.

Networks are built on the meta device and then assigned the tensors of their files, memory-mapped where these have the
wanted dtype already. LoRAs are merged, and large conversions cached on disk.
"""

from __future__ import annotations

import inspect
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import torch
from safetensors.torch import save_file

from tintype.checkpoints.checkpoint import Checkpoint
from tintype.checkpoints.component import Component
from tintype.checkpoints.files import MALFORMED, Tensors, map_tensors
from tintype.checkpoints.lora import merge_loras
from tintype.checkpoints.weights import CACHE, WeightsMetadata
from tintype.diffusion.libraries import CLASSES, find_class
from tintype.diffusion.memory.component import LoadedComponent, out_of_memory
from tintype.diffusion.memory.device_memory import DeviceMemory
from tintype.diffusion.text import ClipEncoder, PromptCache
from tintype.errors import WeightsUnusable
from tintype.families.spec import ComponentSpec, class_name

log = structlog.get_logger()

#: Layers in a row, and elements along any side: no published network comes near. Building more would not end.
MAX_LAYERS, MAX_SIDE = 1000, 10_000_000
#: How configurations call numbers of layers.
LAYERS = re.compile(r"layers(?!_attention)|(num|layers_per)_.*blocks?$")
#: Bytes from which a converted copy is cached on disk: smaller ones are converted in no time.
MIN_CACHED = 256 * 2**20


class Components:
    """A checkpoint's components on a device, in one dtype."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device,
        dtype: torch.dtype,
        memory: DeviceMemory,
        prompts: PromptCache,
        t5_tokens: int,
    ) -> None:
        """t5_tokens: of T5's text, where the family has it."""
        self.checkpoint = checkpoint
        self.device = device
        self.dtype = dtype
        self.memory = memory
        self.prompts = prompts
        self.t5_tokens = t5_tokens

    @property
    def metadata(self) -> WeightsMetadata:
        """What the weights say of themselves; raises WeightsUnusable."""
        return self.checkpoint.weights.metadata

    def loaded(self, spec: ComponentSpec, prepare: Callable[[Any], Any] = lambda module: module) -> LoadedComponent:
        """A network in the memory where it is to run; `prepare` is applied to the loaded module.

        Raises WeightsUnusable.
        """
        on_cpu = spec.placed_by_t5 and self.checkpoint.weights.t5 == "cpu"
        return self._loaded(self._on_disk(spec), self.memory.cpu if on_cpu else self.memory, prepare)

    def has(self, spec: ComponentSpec) -> bool:
        """Whether an optional component is there, and not left out."""
        return self.checkpoint.component(spec) is not None

    def config(self, spec: ComponentSpec) -> dict[str, Any]:
        """A network's configuration, with its class's defaults; raises WeightsUnusable."""
        return whole_config(self._on_disk(spec))

    def tokenizer(self, encoder: ComponentSpec) -> Any:
        """A text encoder's; raises WeightsUnusable where there is none, or one for another text encoder."""
        return open_tokenizer(self.checkpoint, encoder)

    def clip(self, encoder: ComponentSpec) -> ClipEncoder:
        """A text encoder that is CLIP's; raises WeightsUnusable."""
        config = self.config(encoder)
        width, layers = config["hidden_size"], config["num_hidden_layers"]
        return ClipEncoder(self.tokenizer(encoder), self.loaded(encoder), width, layers)

    def _on_disk(self, spec: ComponentSpec) -> Component:
        found = self.checkpoint.component(spec)
        if found is None:
            raise WeightsUnusable(self.checkpoint.missing_message(spec.name))
        return found

    def _loaded(
        self, component: Component, memory: DeviceMemory, prepare: Callable[[Any], Any] = lambda module: module
    ) -> LoadedComponent:
        class_of(component)
        map_tensors([lora.path for lora in component.loras])  # fails now, not at the first request, if one is missing
        size = self.dtype.itemsize * sum(tensor.numel() for tensor in component.meta_tensors().values())
        key = f"{component.identity} {self.dtype}"
        build = partial(_build, component, self.dtype)
        return memory.component(key, component.name, size, build, self.dtype.itemsize, prepare)


def _build(component: Component, dtype: torch.dtype) -> Any:
    try:
        return load(component, dtype)
    except (OSError, *MALFORMED) as error:
        if out_of_memory(error):
            raise  # the weights are fine: there may be enough memory another time
        # The libraries' messages name folders of this machine: they go to the log through the cause.
        raise WeightsUnusable(f"the weights can't be loaded: {type(error).__name__}") from error


def channels_last(module: Any) -> Any:
    """A network in the memory layout in which convolutions are fastest."""
    return module.to(memory_format=torch.channels_last)


def load(component: Component, dtype: torch.dtype) -> Any:
    """A network on the CPU, its tensors memory-mapped where they are stored in that dtype; raises WeightsUnusable."""
    # Ordinary tensors, also if called in inference mode: its tensors can't be assigned to a network outside of it.
    with torch.inference_mode(False), torch.no_grad():
        model = build(component)
        assign(model, component, converted(component, dtype))
        return model.eval()


def class_of(component: Component) -> Any:
    """The class that runs a network; raises WeightsUnusable where it isn't supported."""
    if component.class_name not in CLASSES:
        raise WeightsUnusable(
            f"component {component.name}: {component.class_name} is not supported; known are {', '.join(CLASSES)}"
        )
    return find_class(component.class_name)


def build(component: Component) -> Any:
    """A network on the meta device, which takes no memory; raises WeightsUnusable."""
    kind = class_of(component)
    config = _checked_config(component)
    with understood(component.class_name), torch.device("meta"):
        is_text = CLASSES[component.class_name].startswith("transformers.")
        model = kind(kind.config_class(**config)) if is_text else kind.from_config(config)
    return model.requires_grad_(False)


def whole_config(component: Component) -> dict[str, Any]:
    """A network's configuration, with its class's defaults; raises WeightsUnusable."""
    kind, config = class_of(component), _checked_config(component)
    if not hasattr(kind, "config_class"):
        parameters = inspect.signature(kind.__init__).parameters.values()
        return {parameter.name: parameter.default for parameter in parameters} | config
    with understood(component.class_name):
        return {**kind.config_class(**config).to_dict()}


def open_tokenizer(checkpoint: Checkpoint, spec: ComponentSpec) -> Any:
    """The tokenizer of a text encoder, which has all of its tokens; raises WeightsUnusable."""
    if spec.tokenizer is None:
        raise ValueError(f"{spec.name} is no text encoder")
    name, folder, encoder = spec.tokenizer.name, checkpoint.tokenizer(spec), checkpoint.component(spec)
    if folder is None or encoder is None:
        raise WeightsUnusable(checkpoint.missing_message(name))
    with understood("a tokenizer"):
        kind = find_class(class_name(spec.tokenizer.path))
        tokenizer = kind.from_pretrained(folder, local_files_only=True)
        highest = max(tokenizer.get_vocab().values())
        longest = tokenizer.model_max_length
        tokenizer(["a fox"], padding="max_length", max_length=8, truncation=True, return_tensors="pt")
    config = whole_config(encoder)
    if highest >= config["vocab_size"]:
        words = f"it has tokens up to {highest}, and {encoder.name} knows {config['vocab_size']} (vocab_size)"
        raise WeightsUnusable(f"component {name}: {words}")
    positions = config.get("max_position_embeddings")
    if positions is not None and longest != positions:  # SD 3's two are concatenated
        words = f"its texts (model_max_length) have {longest:,} tokens, and {encoder.name} takes {positions:,}"
        raise WeightsUnusable(f"component {name}: {words} (max_position_embeddings)")
    return tokenizer


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Turn any exception of the block into WeightsUnusable: the libraries raise all kinds for invalid configurations.

    Their messages name folders of this machine: they go to the log through the cause.
    """
    try:
        yield
    except WeightsUnusable:
        raise
    except Exception as error:
        raise WeightsUnusable(f"its configuration is not one of {what}: {type(error).__name__}") from error


def _checked_config(component: Component) -> dict[str, Any]:
    """The configuration's settings of the network; raises WeightsUnusable for sizes that no network has."""
    # Keys that begin with _ are its history, and its attention implementation: we choose that ourselves.
    config = {key: value for key, value in component.config.items() if not key.startswith("_") or key == "_class_name"}
    config.pop("attn_implementation", None)
    for key, value in config.items():
        limit = MAX_LAYERS if LAYERS.search(key) else MAX_SIDE
        sides = value if isinstance(value, list | tuple) else [value]
        if len(sides) > MAX_LAYERS or any(isinstance(side, int) and abs(side) > limit for side in sides):
            raise WeightsUnusable(f"its configuration is not one of {component.class_name}: {key} is out of range")
    return config


def assign(model: Any, component: Component, tensors: Tensors) -> None:
    """Assign tensors to a network of the meta device, without a copy; raises WeightsUnusable that names differences."""
    try:
        unexpected = model.load_state_dict(tensors, strict=False, assign=True).unexpected_keys
    except RuntimeError as error:
        lines = str(error).splitlines()  # a headline, then one line per mismatch
        raise WeightsUnusable(f"component {component.name}: {lines[min(1, len(lines) - 1)].strip()}") from error
    if hasattr(model, "tie_weights"):
        model.tie_weights()
    missing = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    if missing or unexpected:
        raise WeightsUnusable(f"component {component.name}: {_differences(missing, unexpected)}")
    for name, buffer in model.named_buffers():
        if buffer.is_meta and name.endswith("position_ids"):  # of CLIP: the one buffer that no file holds
            owner = model.get_submodule(name.rpartition(".")[0])
            owner.position_ids = torch.arange(buffer.shape[-1]).expand(buffer.shape)


def _differences(missing: list[str], unexpected: list[str]) -> str:
    parts = [
        f"{len(names)} tensors {word}, such as {names[0]}"
        for names, word in ((missing, "are missing"), (unexpected, "have no place in it"))
        if names
    ]
    return " and ".join(parts)


def converted(component: Component, dtype: torch.dtype) -> Tensors:
    """The component's tensors in one dtype, its LoRAs merged; raises WeightsUnusable.

    LoRAs of one request are merged into the cached conversion without them; the result isn't cached, as there may be
    any number of combinations.
    """
    per_request = tuple(lora for lora in component.loras if lora.per_request)
    permanent = tuple(lora for lora in component.loras if not lora.per_request)
    tensors = _cached(component.with_loras(permanent), dtype)
    return merge_loras(component.spec, tensors, per_request, dtype) if per_request else tensors


def _cached(component: Component, dtype: torch.dtype) -> Tensors:
    """Large conversions are cached next to the file: a conversion takes twenty times as long as the load itself."""
    outline = component.meta_tensors()
    if not component.loras and not component.is_float8 and all(one.dtype == dtype for one in outline.values()):
        return component.tensors()
    word = str(dtype).removeprefix("torch.")
    cached = component.files[0].parent / CACHE / f"{component.name}-{component.identity}-{word}.safetensors"
    if cached.exists():
        return map_tensors([cached])
    tensors = merge_loras(component.spec, component.tensors(), component.loras, dtype)
    if sum(tensor.numel() for tensor in outline.values()) * dtype.itemsize < MIN_CACHED:
        return tensors
    _save(tensors, cached)
    return map_tensors([cached]) if cached.exists() else tensors


def _save(tensors: Tensors, path: Path) -> None:
    """Write the file under another name, then rename it; a folder that isn't writable is no error."""
    half = None
    try:
        path.parent.mkdir(exist_ok=True)
        handle, half = tempfile.mkstemp(dir=path.parent, suffix=".half")
        os.close(handle)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, half, metadata={"format": "pt"})
        Path(half).replace(path)
    except (OSError, RuntimeError) as error:
        log.warning("can't cache converted weights; they are converted at every load", cause=type(error).__name__)
        if half:
            Path(half).unlink(missing_ok=True)
