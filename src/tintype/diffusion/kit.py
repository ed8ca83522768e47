"""A model's components as its family asks for them: parts of a memory, tokenizers and configurations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from tintype.checkpoints.checkpoint import Checkpoint
from tintype.checkpoints.component import Component
from tintype.checkpoints.files import MALFORMED, map_tensors
from tintype.diffusion.loading import class_of, load, open_tokenizer, whole_config
from tintype.diffusion.memory.part import Part
from tintype.diffusion.memory.plan import Memory
from tintype.diffusion.memory.residency import Residency
from tintype.diffusion.memory.shortage import out_of_memory
from tintype.diffusion.prompts import Prompts
from tintype.errors import WeightsUnusable

#: The component that may run on the CPU beside a GPU: the largest of the text encoders, run once per prompt.
T5 = "text_encoder_3"


class Kit:
    """A checkpoint on a device, in one number format; nothing is loaded before it is at work."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device,
        dtype: torch.dtype,
        memory: Memory,
        prompts: Prompts,
    ) -> None:
        self.checkpoint = checkpoint
        self.device = device
        self.dtype = dtype
        self.memory = memory
        self.prompts = prompts

    def part(self, name: str, prepare: Callable[[Any], Any] = lambda module: module) -> Part:
        """A network of the device's memory; `prepare` is the last touch to the loaded one. Raises WeightsUnusable."""
        return self._part(self.component(name), self.memory.device, prepare)

    def t5(self) -> Part | None:
        """The third text encoder, in the memory where it is to run; None where it is left out."""
        component = self.checkpoint.component(T5)
        on_cpu = self.checkpoint.weights.t5 == "cpu"
        if component is None:
            return None
        return self._part(component, self.memory.host if on_cpu else self.memory.device)

    def component(self, name: str) -> Component:
        """A network as it lies on disk; raises WeightsUnusable where there is none."""
        found = self.checkpoint.component(name)
        if found is None:
            raise WeightsUnusable(self.checkpoint.missing_message(name))
        return found

    def config(self, name: str) -> dict[str, Any]:
        """A network's configuration, with what its class takes for granted; raises WeightsUnusable."""
        return whole_config(self.component(name))

    def tokenizer(self, name: str) -> Any:
        """A tokenizer; raises WeightsUnusable where there is none, or one for another text encoder."""
        return open_tokenizer(self.checkpoint, name)

    def _part(
        self, component: Component, memory: Residency, prepare: Callable[[Any], Any] = lambda module: module
    ) -> Part:
        class_of(component)
        map_tensors([lora.path for lora in component.loras])  # whether they are there, before anybody waits for them
        size = self.dtype.itemsize * sum(tensor.numel() for tensor in component.meta_tensors().values())
        key = f"{component.identity} {self.dtype}"
        build = partial(_build, component, self.dtype, prepare)
        return memory.part(key, component.name, size, build, self.dtype.itemsize)


def _build(component: Component, dtype: torch.dtype, prepare: Callable[[Any], Any]) -> Any:
    try:
        return prepare(load(component, dtype))
    except (OSError, *MALFORMED) as error:
        if out_of_memory(error):
            raise  # not the weights' fault: there may be room another time
        # The libraries' messages name folders of this machine: they go to the log through the cause.
        raise WeightsUnusable(f"the weights can't be loaded: {type(error).__name__}") from error


def channels_last(module: Any) -> Any:
    """A network in the memory layout in which convolutions are fastest."""
    return module.to(memory_format=torch.channels_last)
